/**
 * `github.create_issue`: https://docs.github.com/rest/issues/issues#create-an-issue
 *
 * The preview creates a marker and shows it: an HTML comment at the end of the text, by which the issue is found in the repository's list.
 */
import { z } from 'zod'
import type { Adapter } from '../../services/actions/adapter.ts'
import { type OnceOptions, onceAdapter } from '../../services/actions/adapters/once.ts'
import { plainName } from '../../services/actions/adapters/plain-text.ts'
import { link } from '../../services/actions/adapters/calendar.ts'
import { ApiFailure } from '../../services/actions/adapters/provider-http.ts'
import { readGithubError } from './errors.ts'
import { headers, isMarked, marked, marker, maxPages, mentionWarnings, newMarker, read, repository, sinceOf, text } from './repository.ts'

const params = z.strictObject({
  ...repository,
  title: plainName(256).describe('The title of the issue.'),
  body: text.default('').describe('The text of the issue, in GitHub Flavored Markdown.'),
  labels: z.array(plainName(50)).max(20).optional().describe('Names of labels; who may not set labels creates the issue without them.'),
  marker,
})
type Issue = z.output<typeof params>

const issue = z.object({ number: z.int().positive(), html_url: link, body: z.string().nullish() })

/** `baseUrl` is GITHUB_API_URL. */
export const githubIssueAction = (options: OnceOptions): Adapter<Issue> =>
  onceAdapter(options, {
    action: 'github.create_issue',
    requires: { provider: 'github', scopes: [], warn: (granted) => scopeWarnings(granted) },
    readError: readGithubError,
    description: 'Creates an issue in a GitHub repository, as the connected account.',
    guarantee:
      'Created at most once per run: after a lost response Relay looks for the issue in the repository by an invisible mark in its text, and never creates it again. Where the list cannot be read, the outcome is unknown.',
    params,
    words: { thing: 'issue', made: 'created', place: 'in the repository' },
    reasons: { notMade: 'ISSUE_NOT_CREATED', lost: 'ISSUE_OUTCOME_LOST' },
    brief: ({ title }) => title,

    async preview(asked, { connection }) {
      const its = { ...asked, marker: newMarker(asked.marker) }
      const as = connection === undefined ? '' : ` as ${connection.account}`
      const summary = `Create an issue in ${its.owner}/${its.repo}${as}: ${its.title}\n\n${marked(its.body, its.marker)}`
      return { params: its, summary, warnings: mentionWarnings(its.body) }
    },

    async create({ owner, repo, title, body, labels, marker: its }, run, api, point) {
      const json = { title, body: marked(body, its), ...(labels !== undefined && { labels }) }
      const call = { method: 'POST', path: `/repos/${owner}/${repo}/issues`, headers, json, effect: true, point } as const
      return resultOf(read(issue, (await api.call(run, call)).json))
    },

    async find({ owner, repo, marker: its }, run, api) {
      const path = `/repos/${owner}/${repo}/issues`
      const query = { state: 'all', sort: 'created', direction: 'desc', per_page: '100', since: sinceOf(run.recovery) }
      for (let page = 1; page <= maxPages; page += 1) {
        const { json } = await api.call(run, { method: 'GET', path, headers, query: { ...query, page: String(page) } })
        const issues = read(z.array(issue), json)
        const found = issues.find(({ body }) => isMarked(body, its))
        if (found !== undefined) return resultOf(found)
        if (issues.length < 100) return undefined
      }
      throw new ApiFailure('unclear', 'PROVIDER_GARBLED', 'github has more issues since then than are looked through.')
    },
  })

const resultOf = ({ number, html_url }: z.output<typeof issue>) => ({ number, ...(html_url !== undefined && { link: html_url }) })

/** One of them is enough; which one depends on the repository. */
export const scopeWarnings = (granted: readonly string[]): string[] =>
  granted.some((scope) => scope === 'repo' || scope === 'public_repo')
    ? []
    : ['The account has granted neither repo nor public_repo: connect it again with one of them.']
