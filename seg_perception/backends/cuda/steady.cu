// Steadier masks on the GPU, compiled behind kernels.cu. The rules are those of steadier_kernels.py, which says why they are
// right: the same arithmetic in the same order, so every number is equal. One thread per cell of the grid.

#define MOST_HALVINGS 5  // a stride of 32
#define CUBIC_CELLS 4  // along each axis, of what lies between cells

// All that steadying one image reads and writes. Grid [h, w]; stuff: the classes that are no things, their number count.
struct Steady {
    const uint8 *image;               // [h << halvings, w << halvings, 3], the network's input
    uint8 *grey;                      // [h, w]
    float *logits;                    // [classes, h, w]
    const int *stuff;                 // [count]
    const uint8 *is_obstacle;         // [count]
    const float *back;                // [h, w, 2] = (dx, dy): where each cell was in the frame before
    const float *weights;             // [2]: what the past counts for, and by how much it pulls at most
    const float *past_odds;           // [count, h, w]
    const uint8 *past_best;           // [h, w]
    float *odds, *found;              // [count, h, w]; found: what is being made of a cell
    uint8 *best, *is_border;          // [h, w]
    int h, w, halvings, count;
};

__device__ inline int grey_of(const uint8 *rgb) {
    return (9798 * rgb[0] + 19235 * rgb[1] + 3735 * rgb[2] + (1 << 14)) >> 15;
}

// A cell is the grey of its pixels after so many halvings of the image's sides, each rounded as OpenCV rounds. Pixels come in
// Z-order, by fours of fours, so that a sum is kept for each halving alone.
KERNEL shrink_to_grey(const Steady s) {
    int cell = thread_index(), side = 1 << s.halvings, sums[MOST_HALVINGS + 1] = {0};
    if (cell >= s.h * s.w) return;
    const uint8 *corner = s.image + ((int64)(cell / s.w) * side * (s.w * side) + cell % s.w * side) * 3;
    for (int i = 0; i < side * side; i++) {
        int y = 0, x = 0;
        for (int k = 0; k < s.halvings; k++) x |= (i >> 2 * k & 1) << k, y |= (i >> (2 * k + 1) & 1) << k;
        int value = grey_of(corner + (y * (s.w * side) + x) * 3), level = 0;
        for (int left = i; level < s.halvings && (left & 3) == 3; left >>= 2, level++) {
            value = (sums[level] + value + 2) >> 2;
            sums[level] = 0;
        }
        sums[level] += value;
    }
    s.grey[cell] = (uint8)sums[s.halvings];
}

KERNEL find_odds(const Steady s) {
    int cell = thread_index(), cells = s.h * s.w, best = 0;
    if (cell >= cells) return;
    float most = s.logits[s.stuff[0] * cells + cell];
    for (int k = 1; k < s.count; k++) {
        float here = s.logits[s.stuff[k] * cells + cell];
        if (here > most) most = here, best = k;
    }
    for (int k = 0; k < s.count; k++) s.odds[k * cells + cell] = s.logits[s.stuff[k] * cells + cell] - most;
    s.best[cell] = (uint8)best;
}

KERNEL mark_borders(const Steady s) {
    int cell = thread_index();
    if (cell >= s.h * s.w) return;
    int row = cell / s.w, column = cell % s.w;
    bool border = false;
    for (int y = larger(row - 1, 0); y < smaller(row + 2, s.h); y++) {
        for (int x = larger(column - 1, 0); x < smaller(column + 2, s.w); x++) {
            border = border || s.best[y * s.w + x] != s.best[cell];
        }
    }
    s.is_border[cell] = border;
}

// The cells around a place along one axis, at most at the grid's edge, and their weights (Keys, IEEE ASSP 1981).
struct Cubic {
    int at[CUBIC_CELLS];
    float weight[CUBIC_CELLS];
};

__device__ inline Cubic cubic_at(double place, int length) {
    int low = (int)floor(place);
    float t = (float)(place - low);
    Cubic cubic;
    for (int i = 0; i < CUBIC_CELLS; i++) cubic.at[i] = smaller(larger(low + i - 1, 0), length - 1);
    cubic.weight[0] = -0.5f * t * (1.0f - t) * (1.0f - t);
    cubic.weight[1] = (1.5f * t - 2.5f) * t * t + 1.0f;
    cubic.weight[2] = ((2.0f - 1.5f * t) * t + 0.5f) * t;
    cubic.weight[3] = 0.5f * (t - 1.0f) * t * t;
    return cubic;
}

__device__ inline float between_cells(const float *odds, const Cubic &down, const Cubic &across, int w) {
    float value = 0.0f;
    for (int i = 0; i < CUBIC_CELLS; i++) {
        const float *row = odds + down.at[i] * w;
        float near = across.weight[1] * row[across.at[1]] + across.weight[2] * row[across.at[2]];
        value += down.weight[i] * (across.weight[0] * row[across.at[0]] + near + across.weight[3] * row[across.at[3]]);
    }
    return value;
}

KERNEL fuse(const Steady s) {
    int cell = thread_index(), cells = s.h * s.w;
    if (cell >= cells) return;
    int k = s.best[cell], likeliest = 0;
    double y = cell / s.w + (double)s.back[2 * cell + 1], x = cell % s.w + (double)s.back[2 * cell];
    if (!(-0.5 <= y && y < s.h - 0.5 && -0.5 <= x && x < s.w - 0.5)) return;
    if (s.past_best[(int)(y + 0.5) * s.w + (int)(x + 0.5)] == k && !s.is_border[cell]) return;
    Cubic down = cubic_at(y, s.h), across = cubic_at(x, s.w);
    float largest = 0.0f, total = 0.0f, most = 0.0f, memory = s.weights[0], pull = s.weights[1];
    for (int n = 0; n < s.count; n++) {
        float value = between_cells(s.past_odds + n * cells, down, across, s.w);
        s.found[n * cells + cell] = value;
        total += value;
        if (n == 0 || value > largest) largest = value;
    }
    if (!isfinite(total)) return;
    for (int n = 0; n < s.count; n++) {
        float own = s.odds[n * cells + cell], ahead = s.found[n * cells + cell] - largest - own;
        ahead = ahead > -pull ? ahead : -pull;
        float value = own + memory * (ahead < pull ? ahead : pull);
        s.found[n * cells + cell] = value;
        if (n == 0 || value > most) most = value, likeliest = n;
    }
    if (s.is_obstacle[k] && !s.is_obstacle[likeliest]) return;
    float top = s.logits[s.stuff[k] * cells + cell];
    s.best[cell] = (uint8)likeliest;
    for (int n = 0; n < s.count; n++) {
        float value = s.found[n * cells + cell] - most;
        s.odds[n * cells + cell] = value;
        s.logits[s.stuff[n] * cells + cell] = value + top;
    }
}
