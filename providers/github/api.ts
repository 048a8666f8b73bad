import type { ApiFacet } from '../api.ts'
import { githubCommentAction } from './comment-issue.ts'
import { githubIssueAction } from './create-issue.ts'

export const api: ApiFacet = {
  baseUrl: { variable: 'GITHUB_API_URL', doc: "Where GitHub's REST API is", default: 'https://api.github.com', sandboxPath: '/github/api' },
  actions: [githubIssueAction, githubCommentAction],
}
