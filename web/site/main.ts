import { footer, header } from "./common/frame.js";
import "./common/styles.css";

document.body.prepend(header(""));
document.body.append(footer(""));
document.body.dataset.state = "ready";
