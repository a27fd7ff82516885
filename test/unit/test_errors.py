# SPDX-License-Identifier: GPL-2.0
# Each error that is documented of a call has a line in test/kernel/errors.c that
# provokes it, or names the test that does: EXPECT_ERROR() or ELSEWHERE().
import glob
import re
import sys

os_errors = r'%?\b(E[A-Z]{3,})\b'
documented = {}

# kernel-doc of a function: "Possible returned errors", up to the comment's end
for path in glob.glob('kernel/files/mm/mshare/*.c'):
    text = open(path).read()
    for comment in re.findall(r'/\*\*\n \* (.*?)\*/', text, re.S):
        name = re.match(r'(\w+) - ', comment)
        if name and 'Possible returned errors' in comment:
            errors = re.findall(r'^ \* - %(E[A-Z]+):', comment, re.M)
            documented[name[1].replace('mshare_window_map', 'mmap')] = set(errors)

# and what the document says in its own words, of calls of the VFS
manual = open('kernel/files/Documentation/userspace-api/mshare.rst').read()
files = manual[manual.index('\nFiles\n'):manual.index('\nCalls\n')]
for paragraph in re.split(r'\n\n(?!- E)', files):
    name = re.match(r'``(\w+)\(\)`` ', paragraph)
    if name and re.search(os_errors, paragraph):
        documented.setdefault(name[1], set()).update(re.findall(os_errors, paragraph))

tests = open('test/kernel/errors.c').read()
failed = False
for name, errors in sorted(documented.items()):
    body = re.search(r'TEST_F\(errors, %s\)\n\{\n(.*?)\n\}\n' % name, tests, re.S)
    tested = set(re.findall(r'(?:EXPECT_ERROR|ELSEWHERE)\((E[A-Z]+),', body[1])) if body else set()
    for error in sorted(errors - tested):
        print(f'{name}: {error} is documented, and errors.c does not provoke it')
        failed = True
    for error in sorted(tested - errors):
        print(f'{name}: errors.c provokes {error}, which is not documented')
        failed = True
for where in re.findall(r'ELSEWHERE\(E[A-Z]+, "(\w+\.\w+)"', tests):
    program, test = where.split('.')
    if not re.search(r'TEST_\w+\(\w+, %s[,)]' % test, open(f'test/kernel/{program}.c').read()):
        print(f'there is no test {where}')
        failed = True
if len(documented) < 9:
    print(f'only {len(documented)} calls with errors were found in the documents')
    failed = True
sys.exit(failed)
