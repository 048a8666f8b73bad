/** The providers that there are, one line each. */
export { google } from './google/index.ts'
export { microsoft } from './microsoft/index.ts'
