/** The providers, one line each. */
export { github } from './github/index.ts'
export { google } from './google/index.ts'
export { microsoft } from './microsoft/index.ts'
export { slack } from './slack/index.ts'
