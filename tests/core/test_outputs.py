"Outputs never replace what segfast did not write."
import os

import pytest
from matplotlib.figure import Figure

from segfast.core.errors import DataError, UsageError
from segfast.core.outputs import (check_output, check_output_folder, has_mark, output_mark, write_figure,
                                  write_output)


def taken(tmp_path):
    "Names that no command may write to."
    victim = tmp_path/'victim.md'
    victim.write_text('mine')
    (tmp_path/'link.md').symlink_to(victim)
    (tmp_path/'dangling.md').symlink_to(tmp_path/'made.md')
    (tmp_path/'folder.md').mkdir()
    os.mkfifo(tmp_path/'pipe.md')
    (tmp_path/'device.md').symlink_to('/dev/null')
    (tmp_path/'empty.md').touch()
    return ['victim.md', 'link.md', 'dangling.md', 'folder.md', 'pipe.md', 'device.md', 'empty.md']


def test_nothing_of_others_is_written(tmp_path):
    for name in taken(tmp_path):
        before = os.lstat(tmp_path/name)
        with pytest.raises(UsageError) as error: write_output(tmp_path/name, 'new', 'check', '--report')
        assert name in str(error.value) and '--report' in str(error.value)
        assert os.lstat(tmp_path/name) == before
    assert (tmp_path/'victim.md').read_text() == 'mine' and not (tmp_path/'made.md').exists()
    assert not list(tmp_path.glob('.part-*'))


def test_a_mark_counts_only_where_it_belongs(tmp_path):
    mark = output_mark('check', '.md')
    (tmp_path/'README.md').write_text(f'# Mine\nThe report begins with:\n{mark}\n')
    assert not has_mark(tmp_path/'README.md', mark)
    with pytest.raises(UsageError, match='did not write it'): check_output(tmp_path/'README.md', 'check')
    (tmp_path/'page.html').write_text(output_mark('report', '.html'))
    with pytest.raises(UsageError, match='segfast check did not write it'): check_output(tmp_path/'page.html', 'check')


def test_a_file_of_a_run_is_not_replaced(tmp_path):
    (tmp_path/'status.json').write_text('{}')
    (tmp_path/'report.html').write_text(output_mark('check', '.html'))
    with pytest.raises(UsageError, match='is a file of a run'): check_output(tmp_path/'report.html', 'check')
    with pytest.raises(UsageError, match='is the folder of a run'):
        check_output_folder(tmp_path, ['scores.json'], 'scores.json', 'evaluate')


def test_a_second_name_of_an_own_output_keeps_its_content(tmp_path):
    text = output_mark('check', '.txt')
    write_output(tmp_path/'a.txt', text, 'check')
    os.link(tmp_path/'a.txt', tmp_path/'backup.txt')
    write_output(tmp_path/'a.txt', f'{text}\nnew', 'check')
    assert (tmp_path/'backup.txt').read_text() == text


@pytest.mark.parametrize('name', ['worst', 'worst/1.jpg', 'scores.json'])
def test_a_folder_with_a_link_in_it_is_refused(tmp_path, name):
    out, outside = tmp_path/'out', tmp_path/'outside'
    outside.mkdir()
    (out/name).parent.mkdir(parents=True)
    if name != 'scores.json': (out/'scores.json').write_text('{"written_by": "segfast evaluate"}')
    (out/name).symlink_to(outside if name == 'worst' else outside/'made')
    with pytest.raises(UsageError, match='is a link'):
        check_output_folder(out, ['scores.json', 'worst/1.jpg'], 'scores.json', 'evaluate')


def test_a_name_taken_during_the_work_is_kept(tmp_path):
    class Slow(Figure):
        def savefig(self, *args, **kwargs):
            super().savefig(*args, **kwargs)
            (tmp_path/'curve.png').write_text('mine')
    with pytest.raises(UsageError, match='did not write it'):
        write_figure(Slow((1, 1)), tmp_path/'curve.png', 'find-lr')
    assert (tmp_path/'curve.png').read_text() == 'mine'


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(fd): raise OSError(28, 'No space left on device')
    write_output(tmp_path/'a.txt', output_mark('check', '.txt'), 'check')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(DataError, match=r'a\.txt: cannot be written \(No space left on device\)'):
        write_output(tmp_path/'a.txt', 'new', 'check')
    assert [path.name for path in tmp_path.iterdir()] == ['a.txt']
    assert (tmp_path/'a.txt').read_text() == output_mark('check', '.txt')


@pytest.mark.parametrize('mask', [0o002, 0o022, 0o077])
def test_outputs_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try: write_figure(Figure((1, 1)), tmp_path/'curve.png', 'find-lr')
    finally: os.umask(before)
    assert (tmp_path/'curve.png').stat().st_mode & 0o777 == 0o666 & ~mask
