// Package replay says what a policy would have done to requests that are over: it reads access logs, and has each request decided
// by the gateway's own code, on a clock that is the log's.
//
// # Time
//
// The clock is when requests began, from the log. What is logged when a request ends (nginx, Caddy) began so much earlier as the log
// says that it took; if it does not say, it began when it ended. Lines may be out of order by [Config.Window]: a line is decided
// when one that is so much later has been read, or [maxHeld] are held. What comes later still is decided at the time of the
// line before it, and counted. Several logs are merged by time. Times in whole seconds have all requests of a second come at once, which is
// said in the report: a short burst then looks stricter than it is.
//
// # What is decided
//
// There are two worlds of the same routes, plans and consumers: in one the candidate holds, in the other what it is compared with.
// In each all policies hold that are in no shadow, as quotas of this process. Who a request is from is what the log says: nobody
// is asked for a credential. A token's class is not in a log: its client has the plan that consumers give it, or the default one.
// A sliding counter's windows are those of UTC; a gateway's begin when it was started.
//
// # What is kept
//
// Of a client the report has what it needs, as long as there are no more than [Config.Clients]; of more, the ones who were refused
// the most, by Space-Saving (see package heavy): who was refused more often than the refusals divided by Clients is there. Sums
// over all clients are exact. What clients owe is kept as the gateway does it, bounded too. Requests that are under way matter to
// quotas of bytes and of concurrent requests alone; of more than [maxFlights] the first is taken to have ended.
package replay
