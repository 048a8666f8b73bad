/** Where the mesh's metrics are read: at each process, or at a Prometheus that scrapes them all. */
import { setTimeout as pause } from 'node:timers/promises'
import { type Series, parseExposition } from './exposition.ts'
import { readText } from './http.ts'
import type { Snapshot } from './mesh-metrics.ts'
import type { Target } from './target.ts'

export interface MetricsSource {
  /** The processes that must exist, if known beforehand. */
  readonly names?: readonly string[]
  /** The current state, without processes that do not respond. Throws if nothing can be read. */
  read(): Promise<Snapshot>
  /** Waits until a read shows everything up to a time (milliseconds since 1970), and reads. */
  readAfter(moment: number): Promise<Snapshot>
}

const timeoutMs = 2000

/** `urls`: the /metrics of each process, by name. Only the gateway gets the key, because only it may require one. */
export function scrapes(urls: Readonly<Record<string, URL>>, { gateway, apiKey }: Pick<Target, 'gateway' | 'apiKey'>): MetricsSource {
  const read = async (): Promise<Snapshot> => {
    const found = await Promise.all(
      Object.entries(urls).map(async ([name, url]) => {
        // Metrics that cannot be read completely count as no response: a part could make a process look better.
        const key: Record<string, string> = url.origin === gateway.origin ? { authorization: `Bearer ${apiKey}` } : {}
        const series = await readText(url, timeoutMs, { accept: 'text/plain', ...key })
          .then(parseExposition)
          .catch(() => undefined)
        return series === undefined ? [] : [[name, series] as const]
      }),
    )
    return new Map(found.flat())
  }
  return { names: Object.keys(urls), read, readAfter: read }
}

const wanted = [
  'process_start_time_seconds',
  'process_resident_memory_bytes',
  'process_cpu_seconds_total',
  'http_requests_total',
  'http_request_duration_seconds_bucket',
  'action_latency_seconds_bucket',
]

/** One result of https://prometheus.io/docs/prometheus/latest/querying/api/#instant-vectors. */
interface ScrapedMetrics {
  metric: Record<string, string>
  value: [number, string]
}

/** Throws if this is not a Prometheus response to an instant query. */
export function seriesOf(text: string): Series[] {
  const { status, data } = JSON.parse(text) as { status?: unknown; data?: { resultType?: unknown; result?: ScrapedMetrics[] } }
  const result = status === 'success' && data?.resultType === 'vector' ? data.result : undefined
  if (!Array.isArray(result)) throw new Error('this is not the answer of a Prometheus')
  return result.map(({ metric, value }) => {
    const { __name__: name = '', ...labels } = metric
    return { name, labels, value: Number(value[1]) }
  })
}

export interface PrometheusOptions {
  /** Its URL; the API is below it. */
  url: URL
  /** Further label matchers that select this mesh, e.g. `env="staging"`. */
  match: string
  /** The maximum time until everything has been scraped, in milliseconds. */
  timeoutMs: number
}

/** Processes are named by their labels `service` and `instance`. */
export function prometheus({ url, match, timeoutMs }: PrometheusOptions): MetricsSource {
  const ask = async (query: string): Promise<Series[]> => {
    const to = new URL(`${url.href.replace(/\/$/, '')}/api/v1/query`)
    to.searchParams.set('query', query)
    return seriesOf(await readText(to, 10_000))
  }
  const selector = (names: string) => `{__name__=~"${names}",service!=""${match === '' ? '' : `,${match}`}}`
  const read = async (): Promise<Snapshot> =>
    Map.groupBy(await ask(selector(wanted.join('|'))), ({ labels }) => `${labels['service']} ${labels['instance'] ?? ''}`.trim())
  return {
    read,
    async readAfter(moment) {
      const until = performance.now() + timeoutMs
      for (;;) {
        const times = await ask(`timestamp(${selector('process_cpu_seconds_total')})`)
        if (times.length > 0 && times.every(({ value }) => value * 1000 >= moment)) return read()
        // A process that is no longer scraped is missing in the result, and the criteria report it.
        if (performance.now() > until) return read()
        await pause(1000)
      }
    },
  }
}
