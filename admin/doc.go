// Package admin is the operator's HTTP server: the publish API in the shape of Centrifugo's
// server API, quotas, metrics, health, profiles, and a page of live numbers.
//
// It listens on loopback unless an API key is configured. What it shows and does it reaches
// through [Deps], which cmd/weir wires.
package admin
