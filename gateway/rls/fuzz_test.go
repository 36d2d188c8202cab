package rls

import (
	"testing"

	"weir/gateway/policy"
	"weir/ratelimit"

	pb "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"
)

// FuzzCall decides about any message. A call is refused if, and only if, one of its descriptors is; what is refused charges nobody.
func FuzzCall(f *testing.F) {
	for _, req := range []*pb.RateLimitRequest{
		request(one("remote_address", "1.1.1.1")), request(one("user", "x"), hits(0, one("a", "b", "a", "c"))),
		request(one("remote_address", "::1", "path", "/x"), one("remote_address", "nonsense")),
		{Domain: "other"},
		request(hits(1<<63, one("user", ""))),
	} {
		seed, err := proto.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	policies := []policy.Policy{
		{Quota: quota("two", 2)},
		of(f, quota("seven", 7), "address/24/56"),
		{Quota: ratelimit.Quota{Name: "log", Rate: quota("log", 3).Rate, Algorithm: ratelimit.AlgorithmLog}},
		{Quota: ratelimit.Quota{Name: "counter", Rate: quota("counter", 3).Rate, Algorithm: ratelimit.AlgorithmCounter}},
	}
	deps := newDeps(f)
	r := rules(f, deps, policies,
		Rule{Match: match("remote_address", ""), Policies: []string{"two", "log"}}, Rule{Match: match("remote_address", "", "path", "/*"), Policies: []string{"seven"}},
		Rule{Match: match("user", ""), Policies: []string{"counter", "log"}, Late: true}, Rule{Match: match("a", "b", "a", "*"), Policies: []string{"two", "counter"}, Override: true})
	x, again := &call{}, &call{}
	f.Fuzz(func(t *testing.T, message []byte) {
		req := &pb.RateLimitRequest{}
		if proto.Unmarshal(message, req) != nil {
			return
		}
		x.reset(r)
		allowed, err := x.decide(t.Context(), start, req)
		if err != nil {
			return
		}
		out := x.answer(allowed)
		over, late := false, false
		for _, s := range out.GetStatuses() {
			over = over || s.GetCode() == pb.RateLimitResponse_OVER_LIMIT
		}
		for _, owed := range x.late {
			late = late || owed > 0
		}
		if len(out.GetStatuses()) != len(req.GetDescriptors()) || over == allowed {
			t.Fatalf("%v is answered %v", req, out)
		}
		if allowed || late {
			return
		}
		again.reset(r)
		if allowed, err := again.decide(t.Context(), start, req); err != nil || allowed {
			t.Fatalf("%v is let in when it comes again: %v", req, err)
		}
		for i := range x.decisions {
			if x.decisions[i] != again.decisions[i] {
				t.Fatalf("%v was charged: %+v, then %+v", req, x.decisions[i], again.decisions[i])
			}
		}
	})
}
