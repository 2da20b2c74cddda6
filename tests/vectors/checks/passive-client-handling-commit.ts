export { check } from "./passive-client.js";
