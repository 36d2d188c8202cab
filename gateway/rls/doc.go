// Package rls is Envoy's rate limit service, envoy.service.ratelimit.v3.RateLimitService, over gRPC: it has Envoy ask
// the gateway's policies. It speaks the protocol of go-control-plane's types; it does not configure Envoy.
//
// # Rules
//
// Envoy sends descriptors, each a list of entries, key and value. A [Rule] of the request's domain holds for a descriptor that
// has exactly its keys, in any order, and values that fit: of some, the one with the most values said whole, then the one with the
// longest prefixes, then the first. Its policies are charged. A descriptor without a rule, or of a domain without rules, is OK,
// as with envoyproxy/ratelimit, and counted.
//
// # Whose budget
//
// What a rule leaves open of its entries tells clients apart; what it says whole does not: who wants two budgets names
// two policies. A client is the same as of the gateway, with one budget for both, if
//
//   - the policy is the same, and its store: this process, or the same Redis;
//   - each part of the policy's key is an entry that the rule leaves open, by the name that the part has in the configuration:
//     identity, route, header:NAME, claim:NAME; an address is address, remote_address or masked_remote_address;
//   - the rule leaves open no other entry;
//   - Envoy sends what the gateway would see: of identity the name of the consumer or the subject of the token, of a header
//     its first value.
//
// Otherwise clients are told apart by all open entries, names and values, and share nothing with the gateway: an address among
// them is cut as the policy's key says. Two rules with the same open entries and the same policy share its budgets, of whatever
// domain they are. An address that is none is one client with all others that are none.
//
// # A call
//
// All descriptors of a call are decided at once, and charged only if all of them, and all of their policies, allow it:
// envoyproxy/ratelimit charges each by itself first, so that there a client that is over one limit eats up its others. What is charged
// to one budget twice is charged the sum. If policies of this process and of Redis are asked in one call, those here are asked
// first and charged last, as the gateway does.
//
// Nothing waits but for Redis, as long as that is set to; if it is gone each policy does what it is told to then. What is
// refused then is OVER_LIMIT, not an error, as Envoy lets in who has an error unless failure_mode_deny is set.
//
// hits_addend is the cost, in requests or bytes as the policy counts; in a descriptor it goes before the request's, and may be 0,
// which asks whether the client is in debt. is_negative_hits is refused: what was charged is not given back. A limit in a descriptor
// holds in place of the policies' own if the rule says so and they are this process's, see [Rule.Override].
package rls
