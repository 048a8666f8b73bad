import type { ApiFacet } from '../api.ts'
import { slackMessageAction } from './post-message.ts'

export const api: ApiFacet = {
  baseUrl: { variable: 'SLACK_API_URL', doc: "Where Slack's Web API is", default: 'https://slack.com/api', sandboxPath: '/slack/api' },
  actions: [slackMessageAction],
}
