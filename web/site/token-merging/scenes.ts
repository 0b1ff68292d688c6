// What the page offers: drawn scenes that the model was not trained on, and two photos.

import scene00 from "../../../cli/assets/scenes/scene-00.png?url";
import scene03 from "../../../cli/assets/scenes/scene-03.png?url";
import scene04 from "../../../cli/assets/scenes/scene-04.png?url";
import scene07 from "../../../cli/assets/scenes/scene-07.png?url";
import scene10 from "../../../cli/assets/scenes/scene-10.png?url";
import scene12 from "../../../cli/assets/scenes/scene-12.png?url";
import { PHOTOS } from "../common/photos.js";
import type { Sample } from "../common/picture-picker.js";

const scene = (name: string, address: string): Sample => ({ name: `scene-${name}`, address, description: `Drawn scene ${name}` });

export const SAMPLES: readonly Sample[] = [
  scene("00", scene00),
  scene("03", scene03),
  scene("04", scene04),
  scene("07", scene07),
  scene("10", scene10),
  scene("12", scene12),
  ...PHOTOS,
];
