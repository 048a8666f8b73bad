import { join } from 'node:path'

/**
 * NODE_COMPILE_CACHE of processes that tests start by hand: without it half of a start is compiling what the last one compiled. Not that of
 * local mode, which is filled by its own first start.
 */
export const compileCache = join(import.meta.dirname, '../../.cache/compile-tests')
