/** Structured logs: one JSON object a line on stdout, named fields, nothing secret; every line of a request says which one. */
import pino from 'pino'
import { field } from './names.ts'
import type { LogLevel } from './variables.ts'
import { redact, redactFields } from './redact.ts'
import { scopeFields } from './scope.ts'

export type Logger = pino.Logger

/**
 * Lines are gathered and written together (a write a line would cost more than the line): within 100 ms, at 8 KiB, at once from `error`
 * up, and by `flush`. `instance`: which process of the service writes them.
 */
export function createLogger(
  service: string,
  level: LogLevel,
  destination?: pino.DestinationStream,
  instance?: string,
): Logger & { flushNow(): void } {
  const stream = destination ?? pino.destination({ dest: 1, sync: false, minLength: 8192, periodicFlush: 100 })
  const flushNow = () => {
    if ('flushSync' in stream && typeof stream.flushSync === 'function') {
      try {
        stream.flushSync()
      } catch {
        // Not open yet, or stdout is gone: there is nowhere left to say so.
      }
    }
  }
  const log = pino(
    {
      level,
      base: { [field.service]: service, ...(instance !== undefined && { [field.instance]: instance }) },
      mixin: scopeFields,
      timestamp: timestamps(),
      // pino's own redaction by paths costs 30 µs a line, knows no name below three levels, and leaves errors as drivers made them.
      formatters: { level: (label) => ({ level: label }), log: redactFields },
      serializers: { err: (error: unknown) => redact(error) },
      hooks: {
        logMethod(args, method, number) {
          method.apply(this, args)
          if (number >= 50) flushNow()
        },
      },
    },
    stream,
  )
  // pino formats the fields of lines alone, not those that a child is made with. Children inherit both of these.
  const child = log.child
  function redactingChild(this: Logger, ...[bindings, options]: Parameters<typeof child>) {
    return child.call(this, redactFields(bindings), options)
  }
  return Object.assign(log, { flushNow, child: redactingChild as typeof child })
}

/** RFC 3339, UTC, with milliseconds, as pino writes it into a line; all but the milliseconds is made once a second. */
function timestamps(): () => string {
  let second = Number.NaN
  let upToSecond = ''
  return () => {
    const now = Date.now()
    const current = Math.floor(now / 1000)
    if (current !== second) {
      second = current
      upToSecond = `,"time":"${new Date(current * 1000).toISOString().slice(0, -4)}`
    }
    return `${upToSecond}${String(now - current * 1000).padStart(3, '0')}Z"`
  }
}
