package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"neutrino/internal/api"
	"neutrino/internal/config"
	"neutrino/internal/model"
)

// printing makes the command that prints a text.
func printing(text func() string) func(*call) error {
	return func(c *call) error {
		if err := c.parseFlags(c.flags()); err != nil {
			return err
		}
		fmt.Print(text())
		return nil
	}
}

// apiReference describes the resources with all extensions that the server has.
func apiReference() string {
	return model.NewCatalog(api.AllExtensions().Enabled).Reference()
}

func configReference() string { return config.Reference() }

// version is what the Go tool wrote into the binary: a tag or the commit.
func version() string {
	v := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
	}
	return fmt.Sprintf("neutrino %s %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
