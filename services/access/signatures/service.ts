/** The RPCs of relay.access.v1.SignaturesService: proto ⇄ domain, nothing more. */
import { type SignatureKey, SignaturesServiceService } from '#gen/relay/access/v1/signatures.ts'
import { principalOf } from '#mesh/grpc/call.ts'
import { type BoundServer, served } from '#mesh/grpc/server.ts'
import type { Purpose } from '#mesh/signature-keys.ts'
import type { PurposeState, Signatures } from './signatures.ts'

export interface ServiceParts {
  signatures: Signatures
  /** Called after each act: its audit event waits to be sent. */
  acted?: () => void
}

/** The contract allows no other purposes. */
const purposeOf = ({ purpose }: { purpose: string }): Purpose => purpose as Purpose

export function signaturesService({ signatures, acted = () => {} }: ServiceParts): BoundServer {
  return served(SignaturesServiceService, {
    async listSignatureKeys(_, call) {
      return { keys: (await signatures.list(principalOf(call))).map(toMessage), requestId: call.requestId }
    },

    async revealSignatureKey(request, call) {
      const { state, secret, previousSecret } = await signatures.reveal(principalOf(call), purposeOf(request))
      acted()
      return { key: toMessage(state), secret, previousSecret, requestId: call.requestId }
    },

    async replaceSignatureKey(request, call) {
      const state = await signatures.replace(principalOf(call), purposeOf(request))
      acted()
      return { key: toMessage(state), requestId: call.requestId }
    },

    async endSignatureOverlap(request, call) {
      const state = await signatures.endOverlap(principalOf(call), purposeOf(request))
      acted()
      return { key: toMessage(state), requestId: call.requestId }
    },
  })
}

const toMessage = ({ purpose, generation, previous }: PurposeState): SignatureKey => ({ purpose, generation, previousGeneration: previous })
