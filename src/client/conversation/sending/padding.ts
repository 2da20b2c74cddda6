/** The smallest size of anything that is encrypted, in bytes. */
export const SMALLEST_BUCKET = 256;

/**
 * The size to which `length` bytes are padded: 256, above that the next multiple of an eighth of the power of two
 * below. At most 12.5 % are added, and a size tells little more than its order of magnitude.
 */
export function paddedLength(length: number): number {
  if (length <= SMALLEST_BUCKET) return SMALLEST_BUCKET;
  const step = 2 ** (Math.floor(Math.log2(length)) - 3);
  return Math.ceil(length / step) * step;
}
