/** The audit log of access, over a channel that proves which service this is. */
import { AuditServiceService } from '#gen/relay/access/v1/audit.ts'
import type { Append } from './delivery.ts'
import { ownContext } from '../grpc/call.ts'
import { type Channel, methodsOf } from '../grpc/client.ts'

/** Throws MeshError: INVALID_ARGUMENT for an invalid event, anything else if access cannot accept events now. */
export function appendClient(channel: Channel): Append {
  const audit = methodsOf(AuditServiceService, channel)
  return async (events) => {
    await audit.appendEvents({ events: events.map((event) => ({ ...event, targets: [...event.targets] })) }, ownContext())
  }
}
