package l2

const otherHost = "NEUTRINO_L2_TEST_HOST"

func runOtherHost() {}
