import { MemoryClaimStore } from '../../services/idempotency/store.memory.ts'
import { retentionMs } from './claim-requests.ts'
import { claimStoreContract } from './claim-store.ts'

claimStoreContract(
  'memory',
  async () => {
    let now = 1_000_000
    const store = new MemoryClaimStore({ retentionMs, clock: () => now })
    return {
      store,
      advance: async (ms) => void (now += ms),
      size: async () => store.size,
      close: async () => undefined,
    }
  },
  { walks: 200 },
)
