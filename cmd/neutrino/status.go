package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"neutrino/internal/config"
	"neutrino/internal/daemon"
	serverd "neutrino/internal/server"
	"neutrino/internal/store"
	"neutrino/internal/store/upkeep"
	"neutrino/internal/tool/upgrade"
)

// status is neutron-status: with the words "upgrade check" it does what that does, without it looks at what runs.
func status(c *call) error {
	words := []string{}
	c.args = slices.DeleteFunc(slices.Clone(c.args), func(a string) bool {
		if word := a == "upgrade" || a == "check"; word {
			words = append(words, a)
			return true
		}
		return false
	})
	asJSON := false
	d, ctx, done, err := c.tool(func(fs *flag.FlagSet) {
		fs.BoolVar(&asJSON, "json", false, "with upgrade check: print JSON instead of a table")
	})
	if err != nil {
		return err
	}
	defer done()
	switch strings.Join(words, " ") {
	case "":
		return overview(ctx, d)
	case "upgrade check":
		return upgradeCheck(ctx, d, asJSON)
	}
	return fmt.Errorf("neutrino status knows only: upgrade check")
}

func upgradeCheck(ctx context.Context, d *daemon.Daemon, asJSON bool) error {
	results, err := upgradeResults(ctx, d)
	if err != nil {
		fmt.Printf("Error:\n%v\n", err)
		return exitCode(upgrade.Error)
	}
	show := upgrade.Print
	if asJSON {
		show = upgrade.PrintJSON
	}
	if err := show(os.Stdout, results); err != nil {
		return err
	}
	return exitCode(upgrade.Worst(results))
}

func upgradeResults(ctx context.Context, d *daemon.Daemon) ([]upgrade.Result, error) {
	f := d.File
	warnings, err := config.Check(f)
	if err != nil {
		return nil, err
	}
	cfg := upgrade.Config{Warnings: warnings, PolicyFile: f.Find(config.PolicyFile.Get(f)), NoDatabase: !hasDatabase(f)}
	for _, m := range serverd.Missing(f) {
		cfg.Missing = append(cfg.Missing, fmt.Sprintf("%s: %s is not available", m.Option, m.Value))
	}
	if text, err := os.ReadFile(cfg.PolicyFile); err == nil {
		cfg.JSONPolicy = strings.HasPrefix(strings.TrimSpace(string(text)), "{")
	}
	if cfg.NoDatabase {
		return upgrade.Run(ctx, nil, cfg)
	}
	db, err := openDatabase(ctx, d)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if cfg.HeadsDetail, cfg.HeadsKnown, err = heads(ctx, db); err != nil {
		return nil, err
	}
	if !cfg.HeadsKnown { // whatever tables there are, the questions are not about them
		cfg.NoDatabase = false
		return upgrade.Run(ctx, nil, cfg)
	}
	return upgrade.Run(ctx, db, cfg)
}

// hasDatabase tells whether the configuration names a database, or there is one where a server without that has its.
func hasDatabase(f *config.File) bool {
	return config.DatabaseConnection.Given(f) || missingFile(config.DatabaseConnection.Get(f)) == ""
}

// missingFile is the file of an SQLite database that is not there, else "".
func missingFile(url string) string {
	url, _, _ = strings.Cut(url, "?")
	path, ok := strings.CutPrefix(url, "sqlite:///")
	if _, err := os.Stat(path); ok && err != nil {
		return path
	}
	return ""
}

// openDatabase opens the server's database, and does not make one.
func openDatabase(ctx context.Context, d *daemon.Daemon) (*store.DB, error) {
	url := config.DatabaseConnection.Get(d.File)
	if path := missingFile(url); path != "" {
		return nil, fmt.Errorf("there is no database %s", path)
	}
	return store.Open(ctx, url, d.Logger("db"))
}

// heads tells the version of the database, and whether this program knows it.
func heads(ctx context.Context, db *store.DB) (text string, known bool, err error) {
	found, supported, err := upkeep.Version(ctx, db)
	if err != nil {
		return "", false, err
	}
	slices.Sort(found)
	slices.Sort(supported)
	switch {
	case len(found) == 0:
		return "The database is empty; the server, or neutrino db upgrade, makes the tables.", false, nil
	case slices.Equal(found, supported):
		return "alembic heads " + strings.Join(found, " ") + " (Neutron 2026.2)", true, nil
	}
	return fmt.Sprintf("alembic heads %s are not those of Neutron 2026.2, %s; bring the database there with upstream's neutron-db-manage first",
		strings.Join(found, " "), strings.Join(supported, " ")), false, nil
}

// overview prints what runs, as far as the configuration tells where it is: a host of agents knows no database. It fails if something should and does not.
func overview(ctx context.Context, d *daemon.Daemon) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	bad := busStatus(ctx, d, w) + healthStatus(ctx, d, w)
	if hasDatabase(d.File) { // the host of a server
		bad += apiStatus(ctx, d, w)
		broken, err := databaseStatus(ctx, d, w)
		if err != nil {
			fmt.Fprintf(w, "database\tdown\t%v\n", err)
			broken++
		}
		bad += broken
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return exitCode(1)
	}
	return nil
}

// get fetches a page and returns its status and the start of its text.
func get(ctx context.Context, url string) (status int, text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1000))
	return answer.StatusCode, strings.Join(strings.Fields(string(body)), " "), err
}

// healthStatus asks the daemon whose health_listen is in the configuration.
func healthStatus(ctx context.Context, d *daemon.Daemon, w io.Writer) (bad int) {
	address := config.HealthListen.Get(d.File)
	if address == "" {
		return 0
	}
	status, text, err := get(ctx, "http://"+address+"/healthcheck")
	switch {
	case err != nil:
		fmt.Fprintf(w, "health\tdown\t%v\n", err)
	case status != http.StatusOK:
		fmt.Fprintf(w, "health\tnot well\t%s\n", text)
	default:
		fmt.Fprintf(w, "health\tup\t%s\n", address)
		return 0
	}
	return 1
}

// apiStatus asks the API of this host for its versions.
func apiStatus(ctx context.Context, d *daemon.Daemon, w io.Writer) (bad int) {
	url := "http://" + net.JoinHostPort(config.BindHost.Get(d.File), strconv.Itoa(config.BindPort.Get(d.File))) + "/"
	code, _, err := get(ctx, url)
	if err == nil && code >= http.StatusInternalServerError {
		err = fmt.Errorf("status %d", code)
	}
	if err != nil {
		fmt.Fprintf(w, "API\tdown\t%v\n", err)
		return 1
	}
	fmt.Fprintf(w, "API\tup\t%s\n", url)
	return 0
}

// busStatus connects to the bus, if the configuration says where it is.
func busStatus(ctx context.Context, d *daemon.Daemon, w io.Writer) (bad int) {
	if !config.BusURL.Given(d.File) {
		fmt.Fprintf(w, "bus\t-\t[neutrino] bus_url is not set: within the server's process only\n")
		return 0
	}
	t, err := d.DialBus()
	if err != nil {
		fmt.Fprintf(w, "bus\tdown\t%v\n", err)
		return 1
	}
	defer t.Close()
	for deadline := time.Now().Add(3 * time.Second); !t.Healthy() && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(20 * time.Millisecond)
	}
	if !t.Healthy() {
		fmt.Fprintf(w, "bus\tdown\t%s\n", config.BusURL.Get(d.File))
		return 1
	}
	fmt.Fprintf(w, "bus\tup\t%s\n", config.BusURL.Get(d.File))
	return 0
}

// databaseStatus prints the version of the database and the agents in it.
func databaseStatus(ctx context.Context, d *daemon.Daemon, w io.Writer) (bad int, err error) {
	db, err := openDatabase(ctx, d)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	version, known, err := heads(ctx, db)
	if err != nil {
		return 0, err
	}
	state := "up"
	if !known {
		state, bad = "unknown", 1
	}
	fmt.Fprintf(w, "database\t%s\t%s\n", state, version)
	if !known {
		return bad, nil
	}
	dead, err := agentStatus(ctx, db, config.AgentDownTime.Get(d.File), w)
	return bad + dead, err
}

// agentStatus prints all agents and counts those that are switched on and dead.
func agentStatus(ctx context.Context, db *store.DB, downTime time.Duration, w io.Writer) (dead int, err error) {
	type agent struct {
		kind, host, zone string
		up               bool
		heartbeat        store.Time
	}
	var agents []agent
	err = db.Read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query("SELECT agent_type, host, COALESCE(availability_zone, ''), admin_state_up, heartbeat_timestamp FROM agents ORDER BY agent_type, host")
		agents, err = store.All(rows, err, func(rows *store.Rows) (a agent, err error) {
			return a, rows.Scan(&a.kind, &a.host, &a.zone, &a.up, &a.heartbeat)
		})
		return err
	})
	for _, a := range agents {
		state, age := "alive", time.Since(a.heartbeat.Time).Round(time.Second)
		switch {
		case age < downTime && !a.up:
			state = "alive, switched off"
		case age >= downTime && !a.up:
			state = "dead, switched off"
		case age >= downTime:
			state, dead = "dead", dead+1
		}
		fmt.Fprintf(w, "%s\t%s\ton %s, heard %v ago\t%s\n", a.kind, state, a.host, age, a.zone)
	}
	return dead, err
}
