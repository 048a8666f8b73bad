/**
 * Rounds of chaos on a mesh with two replicas of every service and two gateways that are called in turn: in each round people are at work
 * while Postgres, Redis, the wires between or a process are disturbed in a way that is drawn from the seed. Then everything is put right,
 * every key is asked for its end, and what was said is held against what arrived.
 */
import { cpSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Redis, startRedis } from '../../../deploy/local/redis.ts'
import { freePort } from '../../../deploy/local/state/state-dir.ts'
import { type Receiver, startReceiver } from '../../fakes/receiver.ts'
import { randomFrom } from '../../setup/seed.ts'
import { type Api, type Journey, api, journey, until } from '../journey.ts'
import { type Sandbox, sandboxOf } from '../sandbox.ts'
import { type Disturbance, type Leases, draw } from './disturbance.ts'
import { Load } from './load.ts'
import { type Story, untruths } from './verdict.ts'
import { Wires } from './wires.ts'

export interface ChaosOptions {
  seed: number
  /** What the leases of the mesh are. */
  leases: Leases
  env: Record<string, string>
}

/** How a round went. */
export interface Round {
  disturbance: Disturbance
  stories: readonly Story[]
  /** A sentence for each thing that must not be. */
  violations: string[]
}

const people = ['ann', 'ben', 'cleo', 'dan']
const providers = ['google', 'microsoft'] as const
const accounts = {
  google: ['you@example.com', 'you-too@example.com'],
  microsoft: ['you@outlook.example.com', 'you-too@outlook.example.com'],
}

/** A receiver's answer is waited for no longer than WEBHOOK_TIMEOUT, which is 10 s. */
const maxResponseMs = 7000

interface Person {
  name: string
  api: Api
  sandbox: Sandbox
  account: (provider: (typeof providers)[number]) => string
}

export class Chaos {
  readonly #options: ChaosOptions
  readonly #wires = new Wires()
  #redis!: Redis
  #journey!: Journey
  #receiver!: Receiver
  #people: Person[] = []
  #nowhere = ''
  /** How long the receiver takes for its answer. */
  #answerMs = () => 0

  constructor(options: ChaosOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    this.#receiver = await startReceiver({ respond: () => pause(this.#answerMs(), {}) })
    this.#nowhere = `http://127.0.0.1:${await freePort()}`
    this.#redis = await startRedis()
    this.#journey = await journey({
      ownPostgres: true,
      sandbox: true,
      redisUrl: this.#redis.url,
      replicas: { access: 2, idempotency: 2, ratelimit: 2, oauth: 2, actions: 2, gateway: 2 },
      adjustEnv: this.#wires.adjustEnv,
      env: { LOG_LEVEL: 'warn', ...this.#options.env },
    })
    const { mesh, end } = this.#journey
    await this.#ready()
    this.#people = await Promise.all(
      people.map(async (name, index): Promise<Person> => {
        const { body } = await this.#journey.api.call('POST', '/access/keys', { body: { name, role: 'developer', actor: name } })
        const own = api({ gateways: mesh.gateways, apiKey: body.api_key as string })
        const account = (provider: (typeof providers)[number]) => accounts[provider][index % 2]!
        const person = { name, api: own, sandbox: sandboxOf({ mesh, api: own, end }), account }
        for (const provider of providers) await person.sandbox.connect(provider, account(provider))
        return person
      }),
    )
  }

  /** Keeps the logs where something went wrong, and says where. */
  async end(wentWrong: boolean): Promise<string | undefined> {
    this.#wires.resume()
    const kept = wentWrong && this.#journey !== undefined ? mkdtempSync(join(tmpdir(), 'relay-chaos-')) : undefined
    if (kept !== undefined) cpSync(join(this.#journey.mesh.folder, 'logs'), kept, { recursive: true })
    await this.#journey?.end()
    await this.#wires.close()
    await this.#receiver?.close()
    await this.#redis?.stop()
    return kept
  }

  /** The `index`-th round, from 0. */
  async round(index: number): Promise<Round> {
    const { seed, leases } = this.#options
    const random = randomFrom(mixed(seed, index))
    const disturbance = draw(index, random, leases)
    const maxMs = () => (random() < 0.6 ? 1500 : disturbance.forMs + leases.runMs)
    this.#answerMs = () => (random() < 0.3 ? 0 : Math.min(random() * maxMs(), maxResponseMs))
    const sandbox = this.#people[0]!.sandbox
    await sandbox.calm()
    // Refreshes and sends under way when the disturbance begins; shorter by far than OAUTH_PROVIDER_TIMEOUT.
    const slow = { kind: 'slow', times: 1_000_000 }
    for (const path of ['/token', '/oauth2/v2.0/token']) await sandbox.fault({ ...slow, path, delay_ms: 400, chance: 0.3 })
    await sandbox.fault({ ...slow, path: '/v1.0/me/**', delay_ms: 500, chance: 0.2 })

    const load = new Load({ people: this.#people, targets: { there: this.#receiver.url, nowhere: this.#nowhere }, random })
    await pause(600 + random() * 1200)
    const { mesh } = this.#journey
    await disturbance.apply({ mesh, redis: this.#redis, wires: this.#wires })
    await pause(300 + random() * 700)
    await load.stop()
    await sandbox.calm()
    await this.#ready()
    // A calendar is looked at for ten seconds before it is said that an event is not there.
    await load.settle(60_000 + 4 * leases.longestMs, 2 * leases.runMs)

    const arrivals = await this.#arrivals()
    const said = untruths(load.stories, (nonce) => arrivals.get(nonce) ?? 0, { redelivery: disturbance.cutOff })
    const violations = [...said, ...new Set(load.refusedPreviews), ...(await this.#lostConnections())]
    return { disturbance, stories: load.stories, violations }
  }

  async #ready(): Promise<void> {
    const ready = () => this.#journey.api.call('GET', '/ready').catch(() => undefined)
    const isReady = (body: { ready: boolean; checks: Record<string, boolean> }) => body.ready && Object.values(body.checks).every(Boolean)
    await until(ready, (reply) => reply?.status === 200 && isReady(reply.body), 60_000)
  }

  /** How often each was delivered, by its nonce. */
  async #arrivals(): Promise<Map<string, number>> {
    const counts = new Map<string, number>()
    const count = (nonce: string) => counts.set(nonce, (counts.get(nonce) ?? 0) + 1)
    for (const { body } of this.#receiver.deliveries) count((JSON.parse(body.toString()) as { nonce: string }).nonce)
    const { mails, events } = await this.#people[0]!.sandbox.inbox()
    for (const { subject } of mails) count(subject)
    for (const { title } of events) count(title)
    return counts
  }

  /** A sentence for each connection that has to be made anew; then it is, so that the next round begins like every other. */
  async #lostConnections(): Promise<string[]> {
    const lost: string[] = []
    for (const { name, api: own, sandbox, account } of this.#people) {
      const { body } = await until(
        () => own.call('GET', '/oauth/connections'),
        ({ status }) => status === 200,
      )
      const connections = body.connections as { provider: string; status: string }[]
      for (const provider of providers) {
        const status = connections.find((each) => each.provider === provider)?.status ?? 'gone'
        if (status === 'connected') continue
        lost.push(`the connection of ${name} to ${provider} is ${status}`)
        await sandbox.connect(provider, account(provider))
      }
    }
    return lost
  }
}

/** Rounds that follow one another begin far apart. */
const mixed = (seed: number, round: number): number => Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(round + 1, 0xc2b2ae35)
