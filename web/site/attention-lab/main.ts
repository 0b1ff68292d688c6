// Attention lab: local linear attention on a drawn curve, frames that find each other, and time against query heads.

import { Page } from "../common/page.js";
import { curveSection } from "./curve-section.js";
import { headsSection } from "./heads-section.js";
import "./page.css";
import { panSection } from "./pan-section.js";

const page = await Page.open("attention-lab");
curveSection(page);
panSection(page);
headsSection(page);
