import { Channel } from '#mesh/grpc/client.ts'
import type { Identity } from '#mesh/identity.ts'
import type { Runtime } from '#mesh/serve.ts'

/** Opens channels to the services that this one calls, and closes them when it stops. */
export const channels =
  (runtime: Runtime, { peerToken, tls }: Identity) =>
  (service: string, address: string): Channel => {
    const channel = new Channel({ address, service, peerToken, tls, metrics: runtime.metrics })
    runtime.onStop(`${service} channel`, () => channel.close())
    return channel
  }
