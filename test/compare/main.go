// Command compare sends the same requests to two Networking servers and tells where their answers differ: upstream's
// Neutron and Neutrino, as a rule. Both must use one Keystone and should have databases of their own, equally filled.
//
//	compare -a http://127.0.0.1:9696 -b http://127.0.0.1:9797 -keystone http://127.0.0.1:5000/v3 -password PW FILE...
//	compare … -random networks,ports -seed 7 -steps 500
//	compare … -shared both -walk admin,member FILE...
//
// With -shared both servers have one database, so all that they show must be the same: identifiers and times too.
//
// A FILE has a request per line, of the form that is described at type request. Identifiers and times may differ between
// the servers: what one of them makes up is remembered beside what the other made up, and compared from then on.
package main

import (
	"flag"
	"fmt"
	"math/rand"
	"os"
	"regexp"
	"strings"
)

func main() {
	var (
		a        = flag.String("a", "http://127.0.0.1:9696", "`URL` of the server whose answers are right")
		b        = flag.String("b", "http://127.0.0.1:9797", "`URL` of the server that is examined")
		keystone = flag.String("keystone", "http://127.0.0.1:5000/v3", "`URL` of Keystone")
		password = flag.String("password", "", "password of Keystone's administrator")
		random   = flag.String("random", "", "make up requests of these `families`: "+strings.Join(familyNames(), ", "))
		seed     = flag.Int64("seed", 1, "which random requests")
		callers  = flag.String("callers", usualCallers, "who makes up random requests")
		steps    = flag.Int("steps", 300, "how many random requests")
		verbose  = flag.Bool("v", false, "print each request and the status of both answers")
		limit    = flag.Int("limit", 200, "how many differences to print")
	)
	shared := flag.String("shared", "", "both servers have one database; requests that change it go to `WHICH` of them: a, b or both in turn")
	walk := flag.String("walk", "", "with -shared: at the end compare all lists and objects as these `callers` see them")
	ignore := flag.String("ignore", "", "`regex` of places in answers that may differ, as they are printed")
	flag.Parse()
	r, err := newRunner(*a, *b, *keystone, *password, *shared)
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
	defer r.close()
	r.verbose, r.limit = *verbose, *limit
	if *ignore != "" {
		if r.ignore, err = regexp.Compile(*ignore); err != nil {
			fmt.Fprintln(os.Stderr, "compare:", err)
			os.Exit(2)
		}
	}
	for _, file := range flag.Args() {
		if err := r.runFile(file); err != nil {
			fmt.Fprintln(os.Stderr, "compare:", err)
			os.Exit(2)
		}
	}
	if *random != "" {
		if err := r.runRandom(strings.Split(*random, ","), strings.Split(*callers, ","), rand.New(rand.NewSource(*seed)), *steps); err != nil {
			fmt.Fprintln(os.Stderr, "compare:", err)
			os.Exit(2)
		}
	}
	if *walk != "" {
		if err := r.walk(strings.Split(*walk, ",")); err != nil {
			fmt.Fprintln(os.Stderr, "compare:", err)
			os.Exit(2)
		}
	}
	if !r.summary() {
		os.Exit(1)
	}
}
