// SPDX-License-Identifier: PostgreSQL
/* Why a point could not be measured, in words. */
#include <stdarg.h>
#include <stdio.h>

#include "flip.h"

char failure[256];
bool lacking;

bool fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(failure, sizeof(failure), format, args);
	va_end(args);
	lacking = false;
	return false;
}

bool lack(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(failure, sizeof(failure), format, args);
	va_end(args);
	lacking = true;
	return false;
}
