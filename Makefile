# SPDX-License-Identifier: PostgreSQL
#
# Builds the extension in build/ext, or in BUILD; "make install" installs it, "make
# installcheck" tests what is installed with a running server that has it preloaded.

PG_CONFIG ?= pg_config
export PG_CONFIG

BUILD = build/ext
ext = $(CURDIR)/pg_mshare

all install uninstall installcheck clean:
	mkdir -p $(BUILD)
	$(MAKE) -C $(BUILD) -f $(ext)/Makefile VPATH=$(ext) $@

.PHONY: all install uninstall installcheck clean
