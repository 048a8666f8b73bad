/**
 * Which of a service's processes this is: one id, the same in its traces (`service.instance.id`), its log lines and its metrics, so that one
 * leads to the other also where replicas change their addresses.
 */
import { randomUUID } from 'node:crypto'

const name = 'service.instance.id'

/**
 * The operator's own id where OTEL_RESOURCE_ATTRIBUTES has one (`key=value,…`, values percent-encoded:
 * https://opentelemetry.io/docs/specs/otel/resource/sdk/), else a new one.
 */
export function instanceId(resourceAttributes: string): string {
  for (const pair of resourceAttributes.split(',')) {
    const [key = '', value = ''] = pair.split('=').map((part) => part.trim())
    if (key !== name || value === '') continue
    try {
      return decodeURIComponent(value).slice(0, maxLength)
    } catch {
      // The SDK drops all of a list that it cannot decode.
      break
    }
  }
  return randomUUID()
}

/** Prometheus drops a scrape with a longer label (deploy/prometheus/prometheus.yml). */
const maxLength = 128
