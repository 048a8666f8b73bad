import { EventEmitter } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { batch } from '#mesh/batch.ts'
import { createLogger } from '#mesh/telemetry/log.ts'
import { currentScope, annotate, runDetached, scopeFields, runInScope } from '#mesh/telemetry/scope.ts'
import { newTrace } from '#mesh/telemetry/trace-context.ts'
import { beginTrace, setTracer, withSpan } from '#mesh/telemetry/tracing.ts'
import { SpanRecorder } from '../../fakes/span-recorder.ts'

afterEach(() => setTracer(undefined))

function logger() {
  const lines: Record<string, unknown>[] = []
  const log = createLogger('tested', 'debug', { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) })
  return { log, lines }
}

const internal = (name: string) => ({ name, kind: 'internal' }) as const

describe('a line that is logged in the course of work', () => {
  test('says which: request, trace, span, and what became known of it meanwhile', async () => {
    const { log, lines } = logger()
    const trace = newTrace()
    await runInScope({ work: { requestId: 'r-1' }, trace }, async () => {
      log.info('begun')
      await turn()
      annotate({ workspace: 'w-1' })
      log.info('known')
      await turn()
      annotate({ runId: 'run-1' })
      log.child({ part: 'driver' }).warn({ attempt: 2 }, 'run')
    })
    const ids = { service: 'tested', request_id: 'r-1', trace_id: trace.traceId, span_id: trace.spanId }
    expect(lines).toMatchObject([
      { ...ids, msg: 'begun' },
      { ...ids, msg: 'known', workspace_id: 'w-1' },
      { ...ids, msg: 'run', workspace_id: 'w-1', run_id: 'run-1', part: 'driver', attempt: 2 },
    ])
    expect(Object.keys(lines[0]!)).not.toContain('workspace_id')
  })

  test('says each field once, whatever the line says itself', async () => {
    const written: string[] = []
    const log = createLogger('tested', 'info', { write: (line) => void written.push(line) })
    const trace = newTrace()
    const work = { requestId: 'r-1', workspace: 'w-1', runId: 'run-1' }
    runInScope({ work, trace }, () => log.info({ run_id: 'run-2', workspace_id: 'w-2' }, 'of another'))
    expect(written[0]!.match(/"run_id"/g)).toHaveLength(1)
    expect(JSON.parse(written[0]!)).toMatchObject({ run_id: 'run-2', workspace_id: 'w-2', request_id: 'r-1' })
  })

  test('says nothing of the kind outside of any', () => {
    const { log, lines } = logger()
    log.info('listening')
    expect(Object.keys(lines[0]!).filter((name) => name.endsWith('_id'))).toEqual([])
    expect(scopeFields()).toEqual({})
  })

  test('names the span that is open, and after it the one around it', async () => {
    setTracer(new SpanRecorder().recorder)
    const { log, lines } = logger()
    const { trace } = beginTrace({ name: 'request', kind: 'server' })
    let inner = ''
    await runInScope({ work: { requestId: 'r-1' }, trace }, async () => {
      await withSpan(internal('part'), async (span) => {
        inner = span!.trace.spanId
        await turn()
        annotate({ runId: 'run-1' })
        log.info('in the part')
      })
      log.info('after it')
    })
    // What became known in a part is known of the whole.
    expect(lines).toMatchObject([
      { span_id: inner, trace_id: trace.traceId, run_id: 'run-1' },
      { span_id: trace.spanId, trace_id: trace.traceId, run_id: 'run-1' },
    ])
  })
})

describe('work that goes on at the same time', () => {
  test('is kept apart through everything that it awaits', async () => {
    const { log, lines } = logger()
    const one = async (name: string, turns: number) => {
      annotate({ workspace: `w-${name}` })
      for (let at = 0; at < turns; at += 1) {
        await turn()
        annotate({ runId: `run-${name}-${at}` })
        log.info({ name, at }, 'step')
      }
    }
    const names = Array.from({ length: 20 }, (_, index) => String(index))
    const begin = (name: string, index: number) =>
      runInScope({ work: { requestId: `r-${name}` }, trace: newTrace() }, () => one(name, 1 + (index % 7)))
    await Promise.all(names.map(begin))
    expect(lines).toHaveLength(names.reduce((sum, _, index) => sum + 1 + (index % 7), 0))
    for (const { name, at, request_id, workspace_id, run_id } of lines as Record<string, string>[]) {
      expect([request_id, workspace_id, run_id]).toEqual([`r-${name}`, `w-${name}`, `run-${name}-${at}`])
    }
    expect(currentScope()).toBeUndefined()
  })

  test('what is for nobody in particular is outside of it, though it was set up within', () => {
    const connection = new EventEmitter()
    const heard: unknown[] = []
    runInScope({ work: { requestId: 'r-1' }, trace: newTrace() }, () => {
      connection.on(
        'lost',
        runDetached((why: string) => void heard.push(why, currentScope())),
      )
      connection.emit('lost', 'by peer')
    })
    expect(heard).toEqual(['by peer', undefined])
  })
})

describe('a batch of the work of several', () => {
  /** A batch whose rounds say in whose scope they ran. */
  const harness = () => {
    const spans = new SpanRecorder()
    const rounds: { items: readonly string[]; requestId: string | undefined; spanId: string | undefined }[] = []
    const call = batch<string, string>(
      async (items) => {
        await turn()
        const scope = currentScope()
        rounds.push({ items, requestId: scope?.work.requestId, spanId: scope?.trace.spanId })
        return items.map((item) => `${item} for ${currentScope()?.work.requestId}`)
      },
      { maxBatchSize: 10 },
    )
    return { spans, rounds, call }
  }
  const by = (name: string, sampled: boolean) => ({ work: { requestId: `r-${name}` }, trace: newTrace(sampled) })

  test('is a span in the first trace that is recorded, linked to the others that are', async () => {
    const { spans, rounds, call } = harness()
    setTracer(spans.recorder)
    const [unsampled, first, second] = [by('a', false), by('b', true), by('c', true)]
    const ended = await Promise.all(
      [unsampled, first, second].map((scope) => runInScope(scope, async () => [await call(scope.work.requestId), currentScope()])),
    )
    expect(rounds).toHaveLength(1)
    expect(spans.kept).toHaveLength(1)
    const [commit] = spans.kept
    expect(commit).toMatchObject({ parent: first.trace, start: { links: [second.trace] }, attributes: { 'relay.group_size': 3 }, ends: 1 })
    expect(rounds[0]).toEqual({ items: ['r-a', 'r-b', 'r-c'], requestId: 'r-b', spanId: commit!.trace.spanId })
    // Each goes on as itself.
    expect(ended.map(([, scope]) => scope)).toEqual([unsampled, first, second])
  })

  test('of one is simply a part of it', async () => {
    const { spans, rounds, call } = harness()
    setTracer(spans.recorder)
    const alone = by('a', true)
    expect(await runInScope(alone, () => call('x'))).toBe('x for r-a')
    expect([spans.kept, rounds]).toEqual([[], [{ items: ['x'], requestId: 'r-a', spanId: alone.trace.spanId }]])
  })

  test('after one of somebody else does not go on in that one’s name', async () => {
    const { rounds, call } = harness()
    const [first, second] = [by('a', false), by('b', false)]
    await runInScope(first, () => call('x'))
    await runInScope(second, () => call('y'))
    await call('z')
    expect(rounds.map(({ requestId }) => requestId)).toEqual(['r-a', 'r-b', undefined])
  })

  test('that waited for a round of others is done in its own name', async () => {
    const held = Promise.withResolvers<void>()
    const names: (string | undefined)[] = []
    const call = batch<string, void>(
      async (items) => {
        names.push(currentScope()?.work.requestId)
        await held.promise
        return items.map(() => undefined)
      },
      { maxBatchSize: 1, concurrency: 1 },
    )
    const calls = ['a', 'b'].map((name) => runInScope(by(name, false), () => call(name)))
    const apart = call('c')
    held.resolve()
    await Promise.all([...calls, apart])
    expect(names).toEqual(['r-a', 'r-b', undefined])
  })
})
