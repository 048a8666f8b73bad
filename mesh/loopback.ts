/** Whether only this machine reaches a host: a name, an address, or an IPv6 address in brackets as a URL has it. Pure. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '[::1]' || /^(::ffff:)?127(\.\d{1,3}){3}$/i.test(host) || /^(0{0,4}:){2,7}0{0,3}1$/.test(host)
