// Package policy is what the gateway makes of a request before any upstream hears of it: which route it is for, who
// sent it, which quotas it is charged to, and what the client is told. It does no I/O and knows no HTTP library: both
// ways of the gateway, on net/http and on event loops, ask it the same and get the same.
//
// [Rules] are a configuration, compiled. They do not change; a reload makes others, and a request ends by those that
// it began with. An [Exchange] is the state of one request, used for one after another: a decision allocates nothing
// but for what a token is read into, once a minute.
//
// # Clients
//
// The address is that of the conn. Only if that is a trusted proxy's, the forwarding header is read, from its right
// end, until an address that is none. A credential that is given is checked: a wrong one is refused and never taken
// for none. Consumers by API key and subjects of tokens are one space of identities.
package policy
