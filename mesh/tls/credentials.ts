/**
 * mTLS among the services of one mesh: TLS 1.3, both sides present a certificate of the mesh's own CA, and the certificate names the
 * service (mesh/tls/spiffe.ts). Host names mean nothing here: an address says where a service is, not which one it is.
 */
import { constants } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import {
  type PeerCertificate,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  type TLSSocket,
  createSecureContext,
  createServer,
} from 'node:tls'
import {
  ChannelCredentials,
  type ClientOptions,
  type ServerUnaryCall,
  type UntypedServiceImplementation,
  type sendUnaryData,
} from '@grpc/grpc-js'
import { ConfigError, type ListenAddress } from '../config.ts'
import { type MeshError, meshErrors } from '../errors.ts'
import { type Certificates, readCertificates } from './certificates.ts'
import { type PeerName, isTrustDomain, namedBy } from './spiffe.ts'
import { Loop } from '../loop.ts'
import type { Logger } from '../telemetry/log.ts'
import { toStatus } from '../grpc/status.ts'

/** MESH_TRUST_DOMAIN, MESH_TLS_CA, MESH_TLS_CERT, MESH_TLS_KEY (mesh/identity.ts). */
export interface TlsConfig {
  trustDomain: string
  tlsCa: string | undefined
  tlsCert: string | undefined
  tlsKey: string | undefined
}

/** The interval between checks for new files. */
const rereadMs = 10_000
/** A connection without a completed handshake is closed after this time. */
const handshakeMs = 10_000

/** The mTLS of a service, or undefined if no file is configured. Throws ConfigError if only some are, and for unusable files. */
export function openTls(service: string, { trustDomain, tlsCa, tlsCert, tlsKey }: TlsConfig): Tls | undefined {
  if (!isTrustDomain(trustDomain)) {
    throw new ConfigError('MESH_TRUST_DOMAIN is not a trust domain: lower-case letters, digits and . _ - make one')
  }
  if (tlsCa !== undefined && tlsCert !== undefined && tlsKey !== undefined) {
    const files = { ca: tlsCa, cert: tlsCert, key: tlsKey }
    return new Tls({ trustDomain, read: () => readCertificates(files, { service, trustDomain }) })
  }
  const given = { MESH_TLS_CA: tlsCa, MESH_TLS_CERT: tlsCert, MESH_TLS_KEY: tlsKey }
  const missing = Object.entries(given).filter(([, path]) => path === undefined)
  if (missing.length === 3) return undefined
  throw new ConfigError(`mTLS takes all three files or none: ${missing.map(([name]) => `${name} is not set`).join(', ')}`)
}

/** What a connection is created with, on either side. */
const contextOf = (certificates: Certificates): SecureContextOptions => ({
  ...certificates,
  minVersion: 'TLSv1.3',
  // A resumed session would skip the certificate check.
  secureOptions: constants.SSL_OP_NO_TICKET,
})

type AnyCall = Pick<ServerUnaryCall<unknown, unknown>, 'getAuthContext' | 'emit'>

export interface TlsListener {
  readonly port: number
  /** Accepts no more connections. */
  close(): void
}

export class Tls {
  readonly #trustDomain: string
  readonly #read: () => Certificates
  #certificates: Certificates
  /** One for all channels: each connection uses its content at that time. */
  readonly #context: SecureContext
  readonly #servers = new Set<Server>()
  /** The identity of the other end, by the certificate of the connection. */
  readonly #named = new WeakMap<PeerCertificate, PeerName>()

  /** `read` throws for unusable files. */
  constructor({ trustDomain, read }: { trustDomain: string; read: () => Certificates }) {
    this.#trustDomain = trustDomain
    this.#read = read
    this.#certificates = read()
    this.#context = createSecureContext(contextOf(this.#certificates))
  }

  /** For a channel to one service: no other is called, wherever the address leads. */
  credentials(service: string): ChannelCredentials {
    return ChannelCredentials.createFromSecureContext(this.#context, {
      checkServerIdentity: (_host, certificate) => {
        const named = this.#nameIn(certificate)
        if (named.service === service) return undefined
        return new Error(`the certificate of the server ${named.problem ?? `is for ${named.service}`}: ${service} was called`)
      },
    })
  }

  /** What a channel with these credentials needs in addition: a name for SNI, which must not be an address. */
  channelOptions(service: string): ClientOptions {
    return { 'grpc.ssl_target_name_override': service }
  }

  /** Accepts connections with a certificate of the CA, and passes them on. The handshake rejects others. */
  listen(address: ListenAddress, parts: { accept: (socket: TLSSocket) => void; log: Logger }): Promise<TlsListener> {
    const options = { ...contextOf(this.#certificates), requestCert: true, rejectUnauthorized: true }
    const server = createServer({ ...options, ALPNProtocols: ['h2'], handshakeTimeout: handshakeMs }, (socket) => {
      // The calls on the connection report its end.
      socket.on('error', () => undefined)
      if (!server.listening) return socket.destroy()
      // grpc-js asks for it at every call, and OpenSSL takes 33 µs each time for a constant.
      const certificate = socket.getPeerCertificate()
      Object.defineProperty(socket, 'getPeerCertificate', { value: () => certificate })
      parts.accept(socket)
    })
    server.on('tlsClientError', handshakeErrors(parts.log))
    return new Promise((resolve, reject) => {
      server.once('error', reject).listen(address.port, address.host, () => {
        this.#servers.add(server)
        const close = () => {
          this.#servers.delete(server)
          server.close()
        }
        resolve({ port: (server.address() as AddressInfo).port, close })
      })
    })
  }

  /** The calling service, by the certificate of its connection. Throws UNAUTHENTICATED for one that names none. */
  peerOf(call: AnyCall): string {
    const certificate = call.getAuthContext().sslPeerCertificate
    if (certificate === undefined) throw meshErrors.UNAUTHENTICATED({ message: 'There is no client certificate.' })
    const named = this.#named.get(certificate) ?? this.#nameIn(certificate)
    this.#named.set(certificate, named)
    if (named.service === undefined) throw meshErrors.UNAUTHENTICATED({ message: `The client certificate ${named.problem}.` })
    return named.service
  }

  /** The same handlers for calls of services only: for methods without a policy before them. */
  guard(handlers: UntypedServiceImplementation): UntypedServiceImplementation {
    const guarded = Object.entries(handlers).map(([name, handle]) => [
      name,
      (call: AnyCall, response?: sendUnaryData<unknown>) => {
        try {
          this.peerOf(call)
        } catch (error) {
          const status = toStatus(error as MeshError)
          return response === undefined ? call.emit('error', status) : response(status)
        }
        return (handle as (call: AnyCall, response?: sendUnaryData<unknown>) => unknown)(call, response)
      },
    ])
    return Object.fromEntries(guarded) as UntypedServiceImplementation
  }

  /** Reads the files again: new connections use them. If they are unusable, throws and keeps the old ones. */
  reread(): void {
    const fresh = this.#read()
    if ((['ca', 'cert', 'key'] as const).every((each) => fresh[each].equals(this.#certificates[each]))) return
    const options = contextOf(fresh)
    this.#context.context = createSecureContext(options).context
    for (const server of this.#servers) server.setSecureContext(options)
    this.#certificates = fresh
  }

  /** Watches the files, so that certificates are replaced without a restart. */
  follow(log: Logger, intervalMs = rereadMs): Loop {
    const loop = new Loop({
      name: 'certificates',
      intervalMs,
      log,
      work: async () => {
        this.reread()
        return false
      },
    })
    loop.start()
    return loop
  }

  #nameIn(certificate: PeerCertificate): PeerName {
    return certificate.ca ? { problem: 'is an authority’s' } : namedBy(certificate.subjectaltname, this.#trustDomain)
  }
}

/** Logs failed handshakes, at most once per second, because anyone can cause them. */
function handshakeErrors(log: Logger): (error: Error & { code?: string }, socket: TLSSocket) => void {
  let [saidAt, unsaid] = [-Infinity, 0]
  return ({ code, message }, socket) => {
    // OpenSSL's objection to the certificate; if it saw none, what happened to the connection.
    const problem = socket.authorizationError ?? code ?? message
    if (performance.now() - saidAt < 1000) {
      unsaid += 1
      return
    }
    log.warn({ problem, source: socket.remoteAddress, others: unsaid }, 'a connection was rejected')
    ;[saidAt, unsaid] = [performance.now(), 0]
  }
}
