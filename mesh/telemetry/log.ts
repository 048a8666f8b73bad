/** Structured logs: one JSON object per line on stdout, named fields, no secrets; every line of a request identifies it. */
import pino from 'pino'
import { field } from './names.ts'
import type { LogLevel } from './variables.ts'
import { redact, redactFields } from './redact.ts'
import { scopeFields } from './scope.ts'

export type Logger = pino.Logger

/**
 * Lines are buffered and written together (one write per line would cost more than the line): within 100 ms, at 8 KiB, at once from `error`
 * up, and by `flush`. `instance`: the process of the service that writes them.
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
        // Not open yet, or stdout is closed: there is no other place to report it.
      }
    }
  }
  const log = pino(
    {
      level,
      base: { [field.service]: service, ...(instance !== undefined && { [field.instance]: instance }) },
      mixin: scopeFields,
      timestamp: timestamps(),
      // pino's own redaction by paths costs 30 µs per line, reaches no name below three levels, and leaves drivers' errors unchanged.
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
  // pino formats only the fields of lines, not those that a child is created with. Children inherit both of these.
  const child = log.child
  function redactingChild(this: Logger, ...[bindings, options]: Parameters<typeof child>) {
    return child.call(this, redactFields(bindings), options)
  }
  return Object.assign(log, { flushNow, child: redactingChild as typeof child })
}

/** RFC 3339, UTC, with milliseconds, as pino writes it into a line; everything but the milliseconds is formatted once per second. */
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
