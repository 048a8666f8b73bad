/**
 * `github.comment_issue`: https://docs.github.com/rest/issues/comments#create-an-issue-comment
 *
 * The preview creates a marker and shows it: an HTML comment at the end of the text, by which the comment is found on the issue.
 */
import { z } from 'zod'
import type { Adapter } from '../../services/actions/adapter.ts'
import { type OnceOptions, beginningOf, onceAdapter } from '../../services/actions/adapters/once.ts'
import { link } from '../../services/actions/adapters/calendar.ts'
import { ApiFailure } from '../../services/actions/adapters/provider-http.ts'
import { scopeWarnings } from './create-issue.ts'
import { readGithubError } from './errors.ts'
import { headers, isMarked, marked, marker, maxPages, mentionWarnings, newMarker, read, repository, sinceOf, text } from './repository.ts'

const params = z.strictObject({
  ...repository,
  issue_number: z.int().positive().max(1e9).describe('The number of the issue or pull request.'),
  body: text.refine((body) => body.trim() !== '', 'is empty').describe('The text of the comment, in GitHub Flavored Markdown.'),
  marker,
})
type Comment = z.output<typeof params>

const comment = z.object({ id: z.int().positive(), html_url: link, body: z.string().nullish() })

/** `baseUrl` is GITHUB_API_URL. */
export const githubCommentAction = (options: OnceOptions): Adapter<Comment> =>
  onceAdapter(options, {
    action: 'github.comment_issue',
    requires: { provider: 'github', scopes: [], warn: scopeWarnings },
    readError: readGithubError,
    description: 'Comments on an issue or a pull request in a GitHub repository, as the connected account.',
    guarantee:
      'Posted at most once per run: after a lost response Relay looks for the comment on the issue by an invisible mark in its text, and never posts it again. Where the comments cannot be read, the outcome is unknown.',
    params,
    words: { thing: 'comment', made: 'posted', place: 'on the issue' },
    reasons: { notMade: 'COMMENT_NOT_POSTED', lost: 'COMMENT_OUTCOME_LOST' },
    brief: ({ body }) => beginningOf(body),

    async preview(asked, { connection }) {
      const its = { ...asked, marker: newMarker(asked.marker) }
      const as = connection === undefined ? '' : ` as ${connection.account}`
      const summary = `Comment on ${its.owner}/${its.repo}#${its.issue_number}${as}:\n\n${marked(its.body, its.marker)}`
      return { params: its, summary, warnings: mentionWarnings(its.body) }
    },

    async create({ owner, repo, issue_number, body, marker: its }, run, api, point) {
      const path = `/repos/${owner}/${repo}/issues/${issue_number}/comments`
      const { json } = await api.call(run, { method: 'POST', path, headers, json: { body: marked(body, its) }, effect: true, point })
      return resultOf(read(comment, json))
    },

    async find({ owner, repo, issue_number, marker: its }, run, api) {
      const path = `/repos/${owner}/${repo}/issues/${issue_number}/comments`
      const query = { per_page: '100', since: sinceOf(run.recovery) }
      for (let page = 1; page <= maxPages; page += 1) {
        const { json } = await api.call(run, { method: 'GET', path, headers, query: { ...query, page: String(page) } })
        const comments = read(z.array(comment), json)
        const found = comments.find(({ body }) => isMarked(body, its))
        if (found !== undefined) return resultOf(found)
        if (comments.length < 100) return undefined
      }
      throw new ApiFailure('unclear', 'PROVIDER_GARBLED', 'github has more comments since then than are looked through.')
    },
  })

const resultOf = ({ id, html_url }: z.output<typeof comment>) => ({ comment_id: id, ...(html_url !== undefined && { link: html_url }) })
