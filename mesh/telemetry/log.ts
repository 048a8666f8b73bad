/** Structured logs: one JSON object a line on stdout, named fields, nothing secret. */
import pino from 'pino'

export type Logger = pino.Logger

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** Fields that are never written, wherever an object has them. Values of Secret hide themselves as well. */
const secretNames = ['authorization', 'cookie', 'set-cookie', 'password', 'secret', 'token', 'api_key', 'apiKey', 'x-api-key', 'connectionString']
const redact = secretNames.flatMap((name) => {
  const path = /^\w+$/.test(name) ? name : `["${name}"]`
  return [path, ...['*', '*.*'].map((parent) => (path.startsWith('[') ? `${parent}${path}` : `${parent}.${path}`))]
})

/**
 * Lines are gathered and written together (a write a line would cost more than the line): within 100 ms, at 4 KiB, at once from `error`
 * up, and by `flush`.
 */
export function createLogger(service: string, level: LogLevel, destination?: pino.DestinationStream): Logger & { flushNow(): void } {
  const stream = destination ?? pino.destination({ dest: 1, sync: false, minLength: 4096, periodicFlush: 100 })
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
      base: { service },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: redact, censor: '[secret]' },
      serializers: { err: pino.stdSerializers.errWithCause },
      hooks: {
        logMethod(args, method, number) {
          method.apply(this, args)
          if (number >= 50) flushNow()
        },
      },
    },
    stream,
  )
  return Object.assign(log, { flushNow })
}
