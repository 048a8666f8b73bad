import fc from 'fast-check'
import { full, seed } from './seed.ts'

fc.configureGlobal({ seed, numRuns: full ? 5000 : 200, endOnFailure: true })
