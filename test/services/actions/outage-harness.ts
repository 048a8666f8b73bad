/**
 * Replicas that each have their own way to one database, and every action before a fake of its other side, which answers when a test lets
 * it. The database is looked at from beside: what a test sees is not what a replica sees.
 */
import { pino } from 'pino'
import { Secret } from '#mesh/config.ts'
import { Database } from '#mesh/postgres/database.ts'
import type { Adapter } from '../../../services/actions/adapter.ts'
import { googleCalendarAdapter } from '../../../providers/google/calendar-create-event.ts'
import { googleMailAdapter } from '../../../providers/google/gmail-send-email.ts'
import { graphCalendarAdapter } from '../../../providers/microsoft/outlook-create-event.ts'
import { graphMailAdapter } from '../../../providers/microsoft/outlook-send-email.ts'
import { gmailScopes, startGmail } from '../../fakes/gmail.ts'
import { startGoogleCalendar } from '../../fakes/google-calendar.ts'
import { startGraph } from '../../fakes/graph.ts'
import { startReceiver } from '../../fakes/receiver.ts'
import { type TcpProxy, tcpProxy, through } from '../../fakes/tcp-proxy.ts'
import { account } from './provider-harness.ts'
import { type Replica, type ReplicaOptions, type Harness, latch, openHarness } from './harness.ts'
import { adapter as webhook } from './webhook-harness.ts'

/** Long enough for a busy machine to renew, and short enough to wait for several. */
export const leaseMs = 3_000

/** One action whose other side answers when `release` is called. */
export interface Acting {
  action: string
  params: Record<string, unknown>
  // oxlint-disable-next-line typescript/no-explicit-any -- adapters of whatever parameters, as the catalog takes them
  adapter: Adapter<any>
  connections?: ReturnType<typeof account>
  /** Resolves once the other side has been asked for what cannot be taken back. */
  asked(): Promise<void>
  release(): void
  /** How often it happened. */
  effects(): number
  close(): Promise<void>
}

const mail = { to: ['bob@example.com'], subject: 'Numbers', text: 'Here they are' }
const meeting = {
  title: 'Plan',
  start: { date_time: '2030-01-31T09:30', time_zone: 'Europe/Berlin' },
  end: { date_time: '2030-01-31T10:30', time_zone: 'Europe/Berlin' },
  attendees: ['bob@example.com'],
}
const calls = { retryMs: 1, timeoutMs: 30_000 }

/** `params`: beside the url. */
export async function webhookActing(params: Record<string, unknown> = {}): Promise<Acting> {
  const held = latch()
  const receiver = await startReceiver({
    respond: async () => {
      await held.opened
      return {}
    },
  })
  return {
    action: 'webhook.save',
    params: { url: receiver.url, body: { a: 1 }, ...params },
    adapter: webhook({ timeoutMs: 30_000 }),
    asked: () => receiver.waitForDeliveries(1),
    release: held.open,
    effects: () => receiver.deliveries.length,
    close: () => receiver.close(),
  }
}

async function gmailActing(): Promise<Acting> {
  const [held, asked, gmail] = [latch(), latch(), await startGmail()]
  gmail.tokens.set('token-1', [gmailScopes.compose, gmailScopes.metadata])
  gmail.fault = async ({ name }) => {
    if (name !== 'drafts.send') return undefined
    asked.open()
    await held.opened
    return undefined
  }
  const connections = account([gmailScopes.compose, gmailScopes.metadata])
  return {
    action: 'gmail.send_email',
    params: mail,
    adapter: googleMailAdapter({ connections, baseUrl: gmail.url, settleMs: 1, ...calls }),
    connections,
    asked: () => asked.opened,
    release: held.open,
    effects: () => gmail.outbox.length,
    close: () => gmail.close(),
  }
}

async function outlookActing(): Promise<Acting> {
  const [held, graph] = [latch(), await startGraph()]
  graph.inject('send', { held: held.opened })
  const connections = account(['Mail.Send', 'Mail.ReadWrite'])
  return {
    action: 'outlook.send_email',
    params: mail,
    adapter: graphMailAdapter({ connections, baseUrl: new URL(graph.url), pollIntervalMs: [0, 1, 2], ...calls }),
    connections,
    asked: () => graph.called('send'),
    release: held.open,
    effects: () => graph.sent.length,
    close: () => graph.close(),
  }
}

const calendarActing =
  (action: string, start: typeof startGoogleCalendar | typeof startGraph, make: typeof googleCalendarAdapter, insert: string) =>
  async (): Promise<Acting> => {
    const [held, api, connections] = [latch(), await start(), account()]
    api.inject(insert, { held: held.opened })
    return {
      action,
      params: meeting,
      adapter: make({ connections, baseUrl: new URL(api.url), pollIntervalMs: [0, 1, 2], ...calls }),
      connections,
      asked: () => api.called(insert),
      release: held.open,
      effects: () => api.events.size,
      close: () => api.close(),
    }
  }

export const everyAction = [
  ['webhook.save', webhookActing],
  ['webhook.save with redeliver_after_crash', () => webhookActing({ redeliver_after_crash: true })],
  ['gmail.send_email', gmailActing],
  ['outlook.send_email', outlookActing],
  ['google_calendar.create_event', calendarActing('google_calendar.create_event', startGoogleCalendar, googleCalendarAdapter, 'insert')],
  ['outlook_calendar.create_event', calendarActing('outlook_calendar.create_event', startGraph, graphCalendarAdapter, 'addEvent')],
] as const satisfies [string, () => Promise<Acting>][]

/** One replica and its way to the database. */
export interface PlacedReplica extends Replica {
  way: TcpProxy
}

export interface OutageStage {
  on: Harness
  acting: Acting
  /** Its reconciler is started. */
  place(options?: ReplicaOptions): Promise<PlacedReplica>
  run(): Promise<{ run_id: string; status: string; epoch: number; error: string | null }>
  /** The run's lease ran out this much ago, by the database's clock. */
  overdueMs(): Promise<number>
  close(): Promise<void>
}

export async function outageStage(act: () => Promise<Acting>): Promise<OutageStage> {
  const acting = await act()
  const harness = await openHarness({ adapters: [acting.adapter], ...(acting.connections && { connections: acting.connections }) })
  const placed: { way: TcpProxy; database: Database }[] = []
  const one = async <T>(sql: string): Promise<T> => (await harness.database.pool.query(sql)).rows[0] as T
  return {
    on: harness,
    acting,
    async place(options = {}) {
      const { hostname: host, port } = new URL(harness.databaseUrl)
      const way = await tcpProxy({ host, port: Number(port) })
      const database = new Database({ url: new Secret(through(way, harness.databaseUrl)), log: pino({ level: 'silent' }) })
      placed.push({ way, database })
      const replica = harness.replica({ leaseMs, database, ...options })
      replica.reconciler.start()
      return { ...replica, way }
    },
    run: () => one('SELECT run_id, status, epoch, error FROM runs'),
    overdueMs: async () =>
      (await one<{ ms: number }>('SELECT extract(epoch FROM clock_timestamp() - lease_until)::float8 * 1000 AS ms FROM runs')).ms,
    async close() {
      acting.release()
      for (const { way } of placed) way.restore()
      await harness.close()
      for (const { way, database } of placed) {
        await database.close()
        await way.close()
      }
      await acting.close()
    },
  }
}
