# SPDX-License-Identifier: PostgreSQL
#
# Builds the extension in build/ext; "make install" installs it, "make installcheck"
# tests what is installed with a running server that has it preloaded.

PG_CONFIG ?= pg_config
export PG_CONFIG

ext = $(CURDIR)/pg_mshare

all install uninstall installcheck clean:
	mkdir -p build/ext
	$(MAKE) -C build/ext -f $(ext)/Makefile VPATH=$(ext) $@

.PHONY: all install uninstall installcheck clean
