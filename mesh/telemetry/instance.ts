/**
 * The id of a process among those of its service, the same in its traces (`service.instance.id`), its log lines and its metrics, so that
 * they can be correlated even if replicas change their addresses.
 */
import { randomUUID } from 'node:crypto'

const name = 'service.instance.id'

/**
 * The operator's own id from OTEL_RESOURCE_ATTRIBUTES (`key=value,…`, values percent-encoded:
 * https://opentelemetry.io/docs/specs/otel/resource/sdk/), or a new one.
 */
export function instanceId(resourceAttributes: string): string {
  for (const pair of resourceAttributes.split(',')) {
    const [key = '', value = ''] = pair.split('=').map((part) => part.trim())
    if (key !== name || value === '') continue
    try {
      return decodeURIComponent(value).slice(0, maxLength)
    } catch {
      // The SDK drops the whole list if it cannot decode it.
      break
    }
  }
  return randomUUID()
}

/** Prometheus drops a scrape with a longer label (deploy/prometheus/prometheus.yml). */
const maxLength = 128
