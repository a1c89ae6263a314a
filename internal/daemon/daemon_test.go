package daemon

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fresh(t *testing.T, text string) *Daemon {
	t.Helper()
	d, err := New(Options{Program: "test", Underlay: "[DEFAULT]\nhost = h\nlog_dir = " + t.TempDir() + "\n" + text})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestTasks(t *testing.T) {
	failure := errors.New("broken")
	forever := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tt := range []struct {
		name string
		run  func(ctx context.Context) error
		want string
	}{
		{"fails", func(context.Context) error { return failure }, "it: broken"},
		{"ends", func(context.Context) error { return nil }, "it: ended without a reason"},
		{"is told to stop", func(ctx context.Context) error {
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		}, ""},
		{"fails while it stops", func(ctx context.Context) error {
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
				return err
			}
			<-ctx.Done()
			return failure
		}, "it: broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := fresh(t, "")
			d.Go("it", tt.run)
			d.Go("other", forever)
			got := ""
			if err := d.Run(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestSecondSignal runs a daemon that does not stop in a process of its own: the second signal ends it.
func TestSecondSignal(t *testing.T) {
	const inside = "NEUTRINO_TEST_STUBBORN"
	if os.Getenv(inside) != "" {
		d := fresh(t, "")
		d.Go("stubborn", func(ctx context.Context) error {
			os.Stdout.WriteString("runs\n")
			<-ctx.Done()
			os.Stdout.WriteString("stops\n")
			select {}
		})
		t.Fatal(d.Run())
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSecondSignal$")
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"runs", "stops"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("the daemon says %q, want %q", lines.Text(), want)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan struct{})
	go func() { // the signal gets its default meaning back a moment after tasks are told to stop, so once may be too early
		for {
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
		}
	}()
	_ = cmd.Wait()
	close(ended)
	if status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("the daemon ended with %v", cmd.ProcessState)
	}
}

func TestHealth(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	d := fresh(t, "[neutrino]\nhealth_listen = "+addr+"\n")
	d.Check(func() error { return errors.New("no sync yet") })
	d.CountWrites("l2", func() int64 { return 42 })
	get := func(path string) string {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	done := errors.New("done")
	d.Go("client", func(context.Context) error {
		if got := get("/healthcheck"); got != "no sync yet" {
			t.Errorf("health %q", got)
		}
		if got := get("/metrics"); !strings.Contains(got, `neutrino_agent_kernel_writes_total{agent="l2"} 42`) {
			t.Error("the agent's writes are not in the metrics")
		}
		http.DefaultClient.CloseIdleConnections()
		return done
	})
	if err := d.Run(); !errors.Is(err, done) {
		t.Error(err)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	if d, err := New(Options{Program: "test", Underlay: "[DEFAULT]\nbind_port = many\n"}); err == nil {
		d.Close()
		t.Error("a wrong option was taken")
	}
}

func TestInterfaceDriver(t *testing.T) {
	_, err := exec.LookPath("ovs-vswitchd")
	fallback := map[bool]string{true: "openvswitch", false: "linuxbridge"}[err == nil]
	for text, want := range map[string]string{
		"":                          fallback,
		"mechanism_drivers = sriov": fallback,
		"mechanism_drivers = linuxbridge,l2population":                               "linuxbridge",
		"mechanism_drivers = linuxbridge,openvswitch":                                "linuxbridge",
		"mechanism_drivers = l2population,openvswitch":                               "openvswitch",
		"mechanism_drivers = openvswitch,linuxbridge":                                "openvswitch",
		"mechanism_drivers = linuxbridge\n[DEFAULT]\ninterface_driver = openvswitch": "openvswitch",
		"mechanism_drivers = openvswitch\n[DEFAULT]\ninterface_driver = linuxbridge": "linuxbridge",
	} {
		if got := fresh(t, "[ml2]\n"+text+"\n").interfaceDriver(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
