// The photos that pages offer.

import chelsea from "../../../cli/assets/chelsea.png?url";
import coffee from "../../../cli/assets/coffee.png?url";
import type { Sample } from "./picture-picker.js";

export { chelsea, coffee };

export const PHOTOS: readonly Sample[] = [
  { name: "chelsea", address: chelsea, description: "Chelsea, a cat" },
  { name: "coffee", address: coffee, description: "A cup of coffee" },
];
