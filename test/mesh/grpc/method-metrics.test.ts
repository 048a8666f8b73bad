/** Calls as they are counted: by what the contracts name, whatever a process or a network says. */
import { Metadata } from '@grpc/grpc-js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { codes } from '#mesh/errors.ts'
import { methods } from '#mesh/grpc/descriptors.ts'
import { methodMetrics } from '#mesh/grpc/method-metrics.ts'
import { fromServiceError } from '#mesh/grpc/status.ts'
import { Metrics } from '#mesh/telemetry/metrics.ts'
import { newTrace } from '#mesh/telemetry/trace-context.ts'

const words = { handled: 'Calls', handling: 'Time' }

test('every code that another process can say is one of gRPC’s', () => {
  const numbers = fc.oneof(fc.integer(), fc.integer({ min: 0, max: 20 }), fc.double(), fc.constant(Number.NaN))
  fc.assert(
    fc.property(numbers, fc.string(), fc.uint8Array({ maxLength: 64 }), (code, details, trailer) => {
      const metadata = new Metadata()
      metadata.set('grpc-status-details-bin', Buffer.from(trailer))
      const error = fromServiceError(Object.assign(new Error(details), { code, details, metadata }))
      expect(Object.keys(codes)).toContain(error.code)
    }),
  )
})

test('a call is counted by service, method and code, and its bucket names its trace where that is recorded', async () => {
  const metrics = new Metrics('tested')
  const of = methodMetrics(metrics, 'grpc_server', words)
  const method = [...methods.values()].find(({ name }) => name === 'ExecuteAction')!
  const trace = newTrace(true)
  const counted = of(method)
  counted.ended('OK').inc()
  counted.seconds.observe(0.02, trace)
  counted.seconds.observe(0.7, newTrace(false))
  counted.ended('UNAVAILABLE').inc()
  expect(of(method)).toBe(counted)

  const { body } = await metrics.scrape('application/openmetrics-text')
  const lines = body.split('\n')
  const labels = 'grpc_service="relay.actions.v1.ActionsService",grpc_method="ExecuteAction"'
  const handled = lines.filter((line) => line.startsWith('grpc_server_handled_total'))
  const ended = handled.map((line) => /grpc_code="(\w+)".* (\d)$/.exec(line)!.slice(1) as [string, string])
  expect(ended.filter(([, count]) => count !== '0')).toEqual([
    ['OK', '1'],
    ['UNAVAILABLE', '1'],
  ])
  // Whatever else may come of it is there, so that its first time is an increase.
  expect(ended.map(([code]) => code).toSorted()).toEqual(['OK', ...Object.keys(codes)].toSorted())
  for (const line of handled) expect(line).toContain('grpc_method="ExecuteAction"')
  const exemplars = lines.filter((line) => line.includes(' # '))
  expect(exemplars).toHaveLength(1)
  expect(exemplars[0]).toContain(`# {trace_id="${trace.traceId}"} 0.02 `)
  expect(exemplars[0]).toContain(`{le="0.025",${labels}`)
})
