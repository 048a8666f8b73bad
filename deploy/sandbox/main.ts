/** The sandbox as a process: all providers on this machine, for trying Relay without an account anywhere. Never in production. */
import { readFileSync } from 'node:fs'
import { serveAdmin } from '#mesh/admin.ts'
import { ConfigError, duration, formatAddress, listenAddress, optional, secret, text, url } from '#mesh/config.ts'
import { Health } from '#mesh/grpc/health.ts'
import { run } from '#mesh/serve.ts'
import { type ProviderName, providerNames } from '#providers/list.ts'
import { writePrivate } from '../local/state/state-dir.ts'
import { startSandbox } from './proxy.ts'
import type { StoredTokens } from './tokens.ts'

const variables = {
  listen: listenAddress('HTTP_LISTEN', 'Where the sandbox is served: loopback alone', { default: '127.0.0.1:0' }),
  publicUrl: url('PUBLIC_URL', "The gateway's URL, where browsers are sent back to", ['http', 'https']),
  clientId: text('SANDBOX_CLIENT_ID', 'The client that both providers know', { default: 'relay-sandbox' }),
  clientSecret: secret('SANDBOX_CLIENT_SECRET', "That client's secret"),
  accessTtlMs: duration('SANDBOX_TOKEN_TTL', 'How long an access token is valid', { default: '1h', minMs: 1000 }),
  tokensFile: optional(text('SANDBOX_TOKENS_FILE', 'Keeps the hashes of issued tokens, so that connections outlive a restart')),
}

function storeIn(file: string): StoredTokens | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as StoredTokens
  } catch {
    // No file, or not readable: accounts must then be connected again.
    return undefined
  }
}

await run('sandbox', variables, async (runtime) => {
  const { config, log, metrics } = runtime
  if (config.environment === 'production') throw new ConfigError('RELAY_ENV is production: a sandbox has no place there')
  if (config.listen.host !== '127.0.0.1') throw new ConfigError('HTTP_LISTEN is not 127.0.0.1: the sandbox listens on loopback alone')
  const admin = await serveAdmin(config.adminListen, { metrics, health: new Health({ services: [] }) })
  runtime.onStop('admin port', () => admin.close())
  const { tokensFile } = config
  const client = (provider: string) => ({
    id: config.clientId,
    secret: config.clientSecret.reveal(),
    redirectUri: new URL(`/oauth/${provider}/callback`, config.publicUrl).href,
  })
  const sandbox = await startSandbox({
    port: config.listen.port,
    clients: Object.fromEntries(providerNames.map((name) => [name, client(name)])) as Record<ProviderName, ReturnType<typeof client>>,
    accessTtlMs: config.accessTtlMs,
    ...(tokensFile !== undefined && {
      kept: storeIn(tokensFile),
      keep: (tokens) => writePrivate(tokensFile, JSON.stringify(tokens)),
    }),
    onCall: (call) => log.info(call, 'call'),
    onError: (error) => log.error({ err: error }, 'the sandbox failed'),
  })
  runtime.onStop('guard', () => sandbox.stop())
  return {
    http: formatAddress({ host: '127.0.0.1', port: sandbox.port }),
    admin: formatAddress({ ...config.adminListen, port: admin.port }),
  }
})
