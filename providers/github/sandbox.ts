/** GitHub in the sandbox: one repository with its issues, as far as the actions use it, and as strict as the original. */
import { type SandboxRequest, type SandboxResponse, json, objectOf } from '../../deploy/sandbox/http.ts'
import type { Holder, Post, SandboxApi, SandboxFacet } from '../sandbox.ts'

export const repositories = ['example/playground'] as const

interface Issue {
  repository: string
  number: number
  title: string
  body: string
  account: string
  createdAt: string
  comments: { id: number; body: string; account: string; createdAt: string }[]
}

const failed = (status: number, message: string, code?: string): SandboxResponse =>
  json(status, { message, ...(code !== undefined && { errors: [{ resource: 'Issue', code }] }) })
const unknownNames = (body: object, names: readonly string[]) => Object.keys(body).some((name) => !names.includes(name))
const hostOf = ({ url }: SandboxRequest) => `${url.origin}/github`
/** In whole seconds, like GitHub. */
const now = () => `${new Date().toISOString().slice(0, 19)}Z`
const page = <T>(items: readonly T[], query: URLSearchParams): T[] => {
  const size = Math.min(Number(query.get('per_page') ?? '30'), 100)
  const first = (Number(query.get('page') ?? '1') - 1) * size
  return items.slice(first, first + size)
}

class Repositories implements SandboxApi {
  readonly #issues: Issue[] = []
  #comments = 0

  answer(request: SandboxRequest, path: string, { email, scopes }: Holder): SandboxResponse {
    if ((request.headers['user-agent'] ?? '') === '') return failed(403, 'Request forbidden by administrative rules.')
    if (request.method === 'GET' && path === '/api/user') return json(200, { login: email.split('@')[0], id: 1_000_001 })
    const [, repository, number, comments] = /^\/api\/repos\/([^/]+\/[^/]+)\/issues(?:\/(\d+)(\/comments))?$/.exec(path) ?? []
    // A repository that the caller may not see does not exist for them.
    const seen = scopes.some((scope) => scope === 'repo' || scope === 'public_repo') && repositories.some((each) => each === repository)
    if (repository === undefined || !seen) return failed(404, 'Not Found')
    const since = request.url.searchParams.get('since') ?? ''
    if (comments === undefined) return this.#onRepository(request, repository, email, since)
    const issue = this.#issues.find((each) => each.repository === repository && each.number === Number(number))
    return issue === undefined ? failed(404, 'Not Found') : this.#onIssue(request, issue, email, since)
  }

  #onRepository(request: SandboxRequest, repository: string, account: string, since: string): SandboxResponse {
    const toJson = (each: Issue) => ({
      number: each.number,
      html_url: `${hostOf(request)}/${each.repository}/issues/${each.number}`,
      title: each.title,
      body: each.body,
      created_at: each.createdAt,
    })
    if (request.method === 'GET') {
      const found = this.#issues.filter((each) => each.repository === repository && each.createdAt >= since).toReversed()
      return json(200, page(found, request.url.searchParams).map(toJson))
    }
    const body = objectOf(request)
    if (request.method !== 'POST' || body === undefined) return failed(400, 'Problems parsing JSON')
    if (unknownNames(body, ['title', 'body', 'labels'])) return failed(422, 'Validation Failed', 'invalid')
    if (typeof body.title !== 'string' || body.title === '') return failed(422, 'Validation Failed', 'missing_field')
    const text = typeof body.body === 'string' ? body.body : ''
    const issue = { repository, number: this.#issues.length + 1, title: body.title, body: text, account, createdAt: now(), comments: [] }
    this.#issues.push(issue)
    return json(201, toJson(issue))
  }

  #onIssue(request: SandboxRequest, issue: Issue, account: string, since: string): SandboxResponse {
    const toJson = ({ id, body, createdAt }: Issue['comments'][number]) => ({
      id,
      html_url: `${hostOf(request)}/${issue.repository}/issues/${issue.number}#issuecomment-${id}`,
      body,
      created_at: createdAt,
    })
    if (request.method === 'GET') {
      const found = issue.comments.filter((each) => each.createdAt >= since)
      return json(200, page(found, request.url.searchParams).map(toJson))
    }
    const body = objectOf(request)
    if (request.method !== 'POST' || body === undefined) return failed(400, 'Problems parsing JSON')
    if (unknownNames(body, ['body']) || typeof body.body !== 'string' || body.body === '')
      return failed(422, 'Validation Failed', 'missing_field')
    const comment = { id: (this.#comments += 1), body: body.body, account, createdAt: now() }
    issue.comments.push(comment)
    return json(201, toJson(comment))
  }

  list(): Post[] {
    return this.#issues.flatMap(({ repository, number, title, body, account, createdAt, comments }): Post[] => [
      {
        provider: 'github',
        account,
        id: `${repository}#${number}`,
        title,
        content: { repository, number, title, body },
        created_at: createdAt,
      },
      ...comments.map((each) => ({
        provider: 'github',
        account: each.account,
        id: `${repository}#${number}-${each.id}`,
        title: `Comment on ${repository}#${number}`,
        content: { repository, number, body: each.body },
        created_at: each.createdAt,
      })),
    ])
  }
}

export const sandbox: SandboxFacet = {
  path: '/github',
  accounts: [
    { email: 'you@github.example.com', name: 'You' },
    { email: 'you-too@github.example.com', name: 'You Too' },
  ],
  authorizePath: '/login/oauth/authorize',
  tokenPath: '/login/oauth/access_token',
  tokenResponse: ({ accessToken, scopes }) => ({ access_token: accessToken, token_type: 'bearer', scope: scopes.join(',') }),
  tokenError: (error) =>
    json(200, {
      error: error === 'invalid_client' ? 'incorrect_client_credentials' : error === 'invalid_grant' ? 'bad_verification_code' : error,
    }),
  error: (status, code) => (status === 401 ? failed(401, 'Bad credentials') : failed(status, code)),
  open: () => new Repositories(),
}
