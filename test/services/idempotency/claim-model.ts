/** One claim and a ledger of what was promised about it, for tests that walk at random. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type ClaimRequest, type Claim, type Completed, claim, complete, release, renew } from '../../../services/idempotency/claim.ts'

export const retentionMs = 86_400_000
export const works = { a: createHash('sha256').update('a').digest(), b: createHash('sha256').update('b').digest() }

/**
 * One key, asked about by several attempts in any order. It keeps a ledger of its own of who was told what, and holds every answer to what
 * was promised, whatever the steps make of it inside.
 */
export class World {
  now = 0
  held: Claim | undefined
  /** Every token that was ever granted, in order. */
  readonly tokens: string[] = []
  /** Who may act, by what was answered so far. */
  holder: { token: string; attemptId: string; runId: string; work: string } | undefined
  ended: { at: number; runId: string; work: string; response: Uint8Array | undefined } | undefined
  #minted = 0

  get at() {
    return { now: this.now, retentionMs }
  }

  claim(attempt: number, work: 'a' | 'b' | undefined, leaseMs: number): void {
    const asked: ClaimRequest = {
      fingerprint: work === undefined ? undefined : works[work],
      attemptId: `attempt ${attempt}`,
      runId: `run ${attempt}-${this.#minted}`,
      leaseMs,
      token: `token ${(this.#minted += 1)}`,
    }
    const before = this.held
    const { answer, next } = claim(before, asked, this.at)
    this.held = next
    if (this.ended !== undefined && this.now - this.ended.at >= retentionMs) this.ended = undefined
    const known = this.ended ?? this.holder
    if (known === undefined) {
      assert.equal(answer.outcome, work === undefined ? 'absent' : 'granted')
    } else {
      assert.equal((answer as { runId?: string }).runId, known.runId)
      if (work !== undefined && work !== known.work) assert.equal(answer.outcome, 'mismatch')
      else if (this.ended !== undefined)
        assert.deepEqual(answer, { outcome: 'completed', runId: this.ended.runId, response: this.ended.response })
      else assert.ok(['granted', 'in_flight'].includes(answer.outcome))
    }
    if (answer.outcome !== 'granted') {
      assert.equal(next, before)
      return
    }
    assert.notEqual(work, undefined)
    assert.ok(answer.leaseMs > 0 && answer.leaseMs <= 60_000)
    if (answer.token === this.holder?.token) {
      assert.equal(asked.attemptId, this.holder.attemptId)
    } else {
      // A token is granted to one attempt, once in all time; only a lease that ran out is taken over.
      assert.ok(!this.tokens.includes(answer.token))
      assert.equal(answer.takenOver, this.holder !== undefined)
      if (before?.state === 'in_flight') assert.ok(before.leaseUntil <= this.now)
      this.tokens.push(answer.token)
      this.holder = { token: answer.token, attemptId: asked.attemptId, runId: answer.runId, work: work! }
    }
  }

  renew(token: string, leaseMs: number): void {
    const before = this.held
    const { answer, next } = renew(before, { token, leaseMs }, this.at)
    this.#fenced(token, answer === 'done', next === before)
    if (before?.state === 'in_flight' && next?.state === 'in_flight') assert.ok(next.leaseUntil >= before.leaseUntil)
    this.held = next
  }

  complete(token: string, response: Uint8Array | undefined): void {
    const before = this.held
    // Repeating a completion that counted, with the token it had, is fine and changes nothing.
    const again = before?.state === 'completed' && before.token === token && this.now - before.completedAt < retentionMs
    const runId = this.holder?.token === token ? this.holder.runId : (before?.runId ?? 'no run')
    const { answer, next } = complete(before, { runId, token, response }, this.at)
    if (again) {
      assert.equal(answer, 'done')
      assert.equal(next, before)
      return
    }
    this.#fenced(token, answer === 'done', next === before)
    this.held = next
    if (answer === 'done') this.#end(response)
  }

  completeByRun(mine: boolean): void {
    const before = this.held
    const holds = mine && this.holder !== undefined
    const runId = holds ? this.holder!.runId : 'another run'
    const { answer, next } = complete(before, { runId, token: undefined, response: undefined }, this.at)
    assert.equal(answer, 'done')
    this.held = next
    if (holds) this.#end(undefined)
    else assert.equal(next, before)
  }

  release(token: string): void {
    const before = this.held
    const { answer, next } = release(before, token, this.at)
    if (this.holder === undefined && (this.ended === undefined || this.now - this.ended.at >= retentionMs)) {
      assert.equal(answer, 'done')
      assert.equal(next, before)
      return
    }
    this.#fenced(token, answer === 'done', next === before)
    this.held = next
    if (answer === 'done') {
      assert.equal(next, undefined)
      this.holder = undefined
    }
  }

  /** At most one of all the tokens there ever were can act. */
  checkHolders(): void {
    const able = this.tokens.filter((token) => renew(this.held, { token, leaseMs: 0 }, this.at).answer === 'done')
    assert.deepEqual(able, this.holder === undefined ? [] : [this.holder.token])
  }

  /** Only the holder's write is done; one by anybody else leaves everything as it was. */
  #fenced(token: string, done: boolean, unchanged: boolean): void {
    assert.equal(done, token === this.holder?.token)
    if (!done) assert.equal(unchanged, true)
  }

  #end(response: Uint8Array | undefined): void {
    const { runId, work } = this.holder!
    this.ended = { at: this.now, runId, work, response }
    this.holder = undefined
    assert.equal((this.held as Completed).completedAt, this.now)
  }
}
