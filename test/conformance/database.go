package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// database is one that Neutrino can keep its state in.
type database struct {
	url   func(*system) string // for [database] connection
	start func(context.Context, *system) error
}

var databases = map[string]database{
	"sqlite": {
		url:   func(s *system) string { return "sqlite:///" + s.path(workDir+"/neutron.sqlite") },
		start: func(context.Context, *system) error { return nil },
	},
	"mariadb": {
		url: func(*system) string {
			return "mysql+pymysql://neutron:" + password + "@127.0.0.1:3306/neutron?charset=utf8mb4"
		},
		start: startMariaDB,
	},
	"postgresql": {
		url:   func(*system) string { return "postgresql://neutron:" + password + "@127.0.0.1:5432/postgres" },
		start: startPostgreSQL,
	},
}

func startMariaDB(ctx context.Context, s *system) error {
	const home, user = workDir + "/mariadb", "mysql"
	if err := s.home(home, user); err != nil {
		return err
	}
	sql := fmt.Sprintf("CREATE DATABASE neutron CHARACTER SET utf8mb4;\n"+
		"CREATE USER neutron@'127.0.0.1' IDENTIFIED BY '%s';\nGRANT ALL ON neutron.* TO neutron@'127.0.0.1';\n", password)
	if err := s.write(workDir+"/mariadb.sql", sql, user); err != nil {
		return err
	}
	if err := s.run(ctx, program{name: "mariadb-install", user: user,
		args: []string{"/usr/bin/mariadb-install-db", "--no-defaults", "--datadir=" + home, "--skip-test-db"}}); err != nil {
		return err
	}
	return s.start(ctx, program{name: "mariadb", user: user, args: []string{"/usr/sbin/mariadbd", "--no-defaults", "--datadir=" + home,
		"--socket=" + home + "/socket", "--bind-address=127.0.0.1", "--port=3306", "--skip-name-resolve", "--max-connections=300",
		"--init-file=" + workDir + "/mariadb.sql"}}, "127.0.0.1:3306")
}

func startPostgreSQL(ctx context.Context, s *system) error {
	const home, user = workDir + "/postgresql", "postgres"
	if err := s.home(home, user); err != nil {
		return err
	}
	// The path has the version in it.
	found, err := filepath.Glob(s.path("/usr/lib/postgresql/*/bin"))
	if err != nil || len(found) == 0 {
		return fmt.Errorf("no PostgreSQL in %s", s.root)
	}
	bin, err := filepath.Rel(s.root, found[len(found)-1])
	if err != nil {
		return err
	}
	bin = "/" + bin
	if err := s.run(ctx, program{name: "initdb", user: user, args: []string{bin + "/initdb", "--pgdata=" + home, "--username=neutron",
		"--auth=trust", "--encoding=UTF8", "--no-sync"}}); err != nil {
		return err
	}
	return s.start(ctx, program{name: "postgresql", user: user, args: []string{bin + "/postgres", "-D", home, "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=" + home, "-c", "max_connections=300"}}, "127.0.0.1:5432")
}
