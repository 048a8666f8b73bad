/** Runs the load generator's process, which stays the same throughout, so that it is warm when it measures. */
import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { Job, LoadResult } from './load.ts'

type Reply = { measured: LoadResult } | { error: string }

export class Loader {
  readonly #process: ChildProcess = fork(join(import.meta.dirname, 'load.ts'), {
    // Ctrl-C in the terminal must reach only the bench, which then ends everything.
    detached: true,
    serialization: 'advanced',
    execArgv: ['--max-semi-space-size=16'],
  })

  /** Does one job at a time. Throws for the first request that fails. */
  run(job: Job): Promise<LoadResult> {
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error('the load generator ended'))
      if (!this.#process.connected) return ended()
      this.#process.once('exit', ended)
      this.#process.once('message', (reply: Reply) => {
        this.#process.off('exit', ended)
        if ('error' in reply) reject(new Error(reply.error))
        else resolve(reply.measured)
      })
      // It may exit at any moment: then `exit` reports it.
      this.#process.send(job, () => undefined)
    })
  }

  stop(): void {
    this.#process.kill()
  }
}
