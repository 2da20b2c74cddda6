export { ERROR_CODES, type ErrorCode, SubrosaError } from "./base/errors.js";
