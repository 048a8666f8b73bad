/** What is done to a mesh in a round of chaos, drawn from a seed, and what may honestly follow from it. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Mesh } from '../../../deploy/local/mesh.ts'
import type { Redis } from '../../../deploy/local/redis.ts'
import type { TcpProxy } from '../../fakes/tcp-proxy.ts'
import type { Wires } from './wires.ts'

export interface World {
  mesh: Mesh
  redis: Redis
  wires: Wires
}

export interface Disturbance {
  readonly kind: string
  /** For people. */
  readonly what: string
  readonly forMs: number
  /** A process died or stood still: what it knew may be lost, so a run may end as unknown. */
  readonly died: boolean
  /**
   * The holder of a run may have been cut off, alone, for longer than its lease: another replica cannot tell that from a death. Where the
   * preview showed redelivery, a second delivery with the same id is then what was promised.
   */
  readonly cutOff: boolean
  /** Resolves when it is over and what was stopped runs again. */
  apply(fixture: World): Promise<void>
}

type Random = () => number

interface Kind {
  name: string
  died?: boolean
  cutOff?: boolean
  /** Of one of them. */
  victims?: readonly string[]
  apply(fixture: World, draw: Drawn): Promise<void>
}

interface Drawn {
  forMs: number
  /** Where the kind names victims: one of them. */
  victim: string
  /** A further number from 0 to 1. */
  chance: number
  /** How long a run is held without a heartbeat. */
  runLeaseMs: number
}

/** What was held back goes on, or the connections are cut. */
function reopen(wires: readonly TcpProxy[], cut: boolean): void {
  for (const wire of wires) {
    if (cut) wire.restore()
    else wire.resume()
  }
}

const both = (...services: string[]): string[] => services.flatMap((each) => [each, `${each}-2`])
const holders = both('actions', 'actions', 'oauth', 'idempotency', 'access')

const kinds = {
  stopped: {
    name: 'Postgres stopped',
    async apply({ mesh }, { forMs }) {
      await mesh.postgres!.stop()
      await pause(forMs)
      await mesh.postgres!.start()
    },
  },
  killed: {
    name: 'Postgres killed',
    async apply({ mesh }, { forMs }) {
      await mesh.postgres!.kill()
      await pause(forMs)
      await mesh.postgres!.start()
    },
  },
  paused: {
    name: 'Postgres paused',
    async apply({ mesh }, { forMs }) {
      mesh.postgres!.pause()
      await pause(forMs)
      mesh.postgres!.resume()
    },
  },
  slow: {
    name: 'Postgres slow',
    async apply({ wires }, { forMs, chance }) {
      for (const wire of wires.to('postgres')) wire.delay(50 + chance * 350)
      await pause(forMs)
      wires.resume()
    },
  },
  silent: {
    name: 'Postgres silent',
    async apply({ wires }, { forMs, chance }) {
      for (const wire of wires.to('postgres')) wire.silence()
      await pause(forMs)
      reopen(wires.to('postgres'), chance < 0.5)
    },
  },
  unreachable: {
    name: 'Postgres unreachable',
    async apply({ wires }, { forMs }) {
      for (const wire of wires.to('postgres')) wire.refuse()
      await pause(forMs)
      wires.resume()
    },
  },
  redisKilled: {
    name: 'Redis killed',
    async apply({ redis }, { forMs }) {
      await redis.kill()
      await pause(forMs)
      await redis.start()
    },
  },
  redisPaused: {
    name: 'Redis paused',
    async apply({ redis }, { forMs }) {
      redis.pause()
      await pause(forMs)
      redis.resume()
    },
  },
  bothStopped: {
    name: 'Postgres and Redis stopped',
    async apply({ mesh, redis }, { forMs }) {
      await Promise.all([mesh.postgres!.stop(), redis.stop()])
      await pause(forMs)
      await Promise.all([mesh.postgres!.start(), redis.start()])
    },
  },
  newcomer: {
    name: 'Postgres stopped, and one replica started in the meantime',
    victims: both('actions', 'oauth'),
    async apply({ mesh }, { forMs, victim }) {
      await mesh.process(victim).stop()
      await mesh.postgres!.stop()
      await pause(forMs)
      await mesh.postgres!.start()
      await mesh.process(victim).restart()
    },
  },
  partition: {
    name: 'one replica cut off from Postgres',
    cutOff: true,
    victims: holders,
    async apply({ wires }, { forMs, victim, chance }) {
      const cut = wires.to('postgres', victim)
      for (const wire of cut) {
        if (chance < 0.4) wire.refuse()
        else wire.silence()
      }
      await pause(forMs)
      reopen(cut, chance > 0.7)
    },
  },
  island: {
    name: 'one replica cut off from everything',
    cutOff: true,
    victims: holders,
    async apply({ mesh, wires }, { forMs, victim, chance }) {
      const cut = wires.around(victim, mesh.services[victim]!.grpc)
      for (const wire of cut) wire.silence()
      await pause(forMs)
      reopen(cut, chance < 0.5)
    },
  },
  late: {
    name: 'Postgres stopped, and one replica reaches it again later than the other',
    cutOff: true,
    victims: both('actions', 'oauth'),
    async apply({ mesh, wires }, { forMs, victim, chance, runLeaseMs }) {
      const cut = wires.to('postgres', victim)
      for (const wire of cut) wire.silence()
      await mesh.postgres!.stop()
      await pause(forMs)
      await mesh.postgres!.start()
      await pause(chance * 2 * runLeaseMs)
      reopen(cut, true)
    },
  },
  death: {
    name: 'a process killed',
    died: true,
    cutOff: true,
    victims: both('actions', 'actions', 'idempotency', 'access', 'ratelimit'),
    async apply({ mesh }, { forMs, victim }) {
      await mesh.process(victim).kill('SIGKILL')
      await pause(forMs / 3)
      await mesh.process(victim).restart()
    },
  },
  frozen: {
    name: 'a process stopped for a while (SIGSTOP)',
    died: true,
    cutOff: true,
    victims: both('actions', 'actions', 'oauth', 'idempotency'),
    async apply({ mesh }, { forMs, victim }) {
      await mesh.process(victim).kill('SIGSTOP')
      await pause(forMs)
      await mesh.process(victim).kill('SIGCONT')
    },
  },
} satisfies Record<string, Kind>

/** Whatever the seed, a run begins with these: what a short run must not miss. The first outage is longer than every lease. */
const first: readonly { kind: Kind; third: number }[] = [
  { kind: kinds.stopped, third: 1 },
  { kind: { ...kinds.partition, victims: both('actions') }, third: 0.5 },
  { kind: kinds.paused, third: 0.5 },
]
const all: readonly Kind[] = Object.values(kinds)

export interface Leases {
  /** How long a run is held without a heartbeat. */
  runMs: number
  /** The longest of all leases, of any service. */
  longestMs: number
}

/** What happens in the `round`-th round (from 0): the same for the same `random`. */
export function draw(round: number, random: Random, leases: Leases): Disturbance {
  const { kind, third } = first[round] ?? { kind: all[Math.floor(random() * all.length)]!, third: random() }
  const victims = kind.victims ?? ['']
  const victim = victims[Math.floor(random() * victims.length)]!
  const forMs = lengthOf(third, random() * (round < first.length ? 0.3 : 1), leases)
  const drawn = { victim, forMs, chance: random(), runLeaseMs: leases.runMs }
  return {
    kind: kind.name,
    what: `${kind.name}${victim === '' ? '' : ` (${victim})`} for ${(forMs / 1000).toFixed(1)} s`,
    forMs,
    died: kind.died ?? false,
    cutOff: kind.cutOff ?? false,
    apply: (fixture) => kind.apply(fixture, drawn),
  }
}

/** A third of them shorter than a run's lease, a third up to the longest, a third longer than every lease. In milliseconds. */
function lengthOf(third: number, within: number, { runMs, longestMs }: Leases): number {
  if (third < 1 / 3) return runMs * (0.1 + 0.9 * within)
  if (third < 2 / 3) return runMs + (longestMs - runMs) * within
  return longestMs * (1.1 + 0.7 * within)
}
