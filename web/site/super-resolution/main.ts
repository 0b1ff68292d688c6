import { Page } from "../common/page.js";

await Page.open("super-resolution");
