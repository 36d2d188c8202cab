package rls_test

import (
	"fmt"
	"time"

	"weir/gateway/policy"
	"weir/gateway/rls"
	"weir/ratelimit"
	"weir/ratelimit/local"
)

func Example() {
	store, err := local.New(local.Config{Clients: 1024})
	if err != nil {
		fmt.Println(err)
		return
	}
	deps := policy.Deps{Local: store, Flight: &policy.Flight{}}
	policies, err := policy.New(policy.Config{Policies: []policy.Policy{{Quota: ratelimit.Quota{Name: "burst", Rate: ratelimit.Rate{Count: 100, Per: time.Second}}}}}, deps)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = rls.New(rls.Config{Domains: []rls.Domain{{Name: "edge", Rules: []rls.Rule{
		{Match: []rls.Entry{{Key: "remote_address"}}, Policies: []string{"burst"}},
		{Match: []rls.Entry{{Key: "remote_address"}, {Key: "path", Value: "/login"}}, Policies: []string{"login"}},
	}}}}, policies, deps)
	fmt.Println(err)
	// Output: rls.domains.edge: rule 2: there is no policy "login" that can be used
}
